require "enotify";
notify "foo:bar";
notify "mailto:a";
notify :importance "9" "mailto:a@b";
notify :from "x" "mailto:a@b";
notify;
