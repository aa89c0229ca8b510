require "fileinto";
if header :tag "a" "b" { keep; }
if header 33 "b" { keep; }
if header "b" 33 { keep; }
if header "b" :is "c" { keep; }
if header "b" { keep; }
if header "a" "b" true { keep; }
header "a" "b";
fileinto "a"
keep;
if address "from" "a" matches { keep; }
