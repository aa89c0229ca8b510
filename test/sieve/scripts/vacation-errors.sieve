require "vacation";
vacation :from "a" "x";
vacation :addresses ["a@b", "c"] "x";
vacation :days "3" "x";
vacation;
