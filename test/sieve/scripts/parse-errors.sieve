keep ["a", 3];
keep 99999999999999999999;
if anyof (true, ) { keep; }
keep
