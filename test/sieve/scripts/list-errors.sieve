require "fileinto";
fileinto [;
keep;
if anyof (true, { }
if anyof (, true) { }
