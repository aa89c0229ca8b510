/** placeholder */
import type { Module } from "../language/ir.ts";
import type { Reporter } from "./reporter.ts";
export function checkFlow(_module: Module, _reporter: Reporter): void {}
