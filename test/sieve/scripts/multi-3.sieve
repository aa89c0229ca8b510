require ["fileinto","mailbox"];
fileinto :create "third";
