require "fileinto";
fileinto "A";
fileinto "A";
redirect "a@x.example";
redirect "a@X.EXAMPLE";
