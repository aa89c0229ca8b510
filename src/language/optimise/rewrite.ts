/**
 * The skeleton of a pass: rebuilds blocks, with if/elsif/else chains flattened so that no pass recurses along them.
 * Invariants: the input is never changed. Failure: none.
 */
import type { Block, IfStatement, Module } from "../ir.ts";

/** The chain as nested ifs again; without rules, the last else alone. */
export function rechain(rules: readonly IfStatement[], otherwise: Block): Block {
  let rest = otherwise;
  for (let i = rules.length - 1; i >= 0; i--) rest = [{ ...rules[i]!, else: rest }];
  return rest;
}

/** Applies a block pass to every block a module starts from. */
export function mapBlocks(module: Module, pass: (block: Block) => Block): Module {
  const entries = Object.fromEntries(Object.entries(module.entries).map(([name, block]) => [name, pass(block)]));
  return { ...module, entries, routines: module.routines.map(pass) };
}
