require "ihave";
error "stop here";
