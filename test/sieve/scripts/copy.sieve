require ["copy", "fileinto", "mailbox"];
redirect :copy "elsewhere@example.org";
fileinto :copy :create "incoming";
