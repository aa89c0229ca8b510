require ["fileinto","mailbox"];
fileinto :create "second";
