require ["include","variables"];
global ["shared", "result"];
set "result" "first saw [${shared}] and [${local}]";
set "local" "other";
set "shared" "changed";
