require "include";
include "counts";
