/** The passes in their order; each is a pure Module → Module function with the same meaning in and out. */
import type { Module } from "../ir.ts";
import { foldConstants } from "./constants.ts";
import { removeDead } from "./dead.ts";
import { indexRules } from "./index-rules.ts";
import { shareTests } from "./share.ts";

export function optimise(module: Module): Module {
  return indexRules(removeDead(shareTests(foldConstants(module))));
}
