require "fileinto";
fileinto 3 { }
fileinto 3 true;
keep "a" true { }
keep frop { }
if true { } else true { }
if true { } elsif { frop; }
