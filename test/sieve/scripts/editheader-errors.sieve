require "editheader";
addheader "X-field:" "x";
deleteheader :last "a";
addheader "x";
