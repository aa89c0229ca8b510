/** Which rules of a script the tests took, and which they left: counted by the `if`s of the author's text. Pure. */
import type { Block, Module } from "../../language/ir.ts";
import { type Hits, isRule } from "./trace.ts";

export interface CoveredRule {
  line: number;
  rule: string;
  /** How often its test was true, and false. */
  taken: number;
  passed: number;
}

export interface Coverage {
  file: string;
  rules: CoveredRule[];
  /** Branches taken at least once, and all branches (two for each rule). */
  hit: number;
  branches: number;
}

export function coverageOf(file: string, module: Module, source: string, hits: Hits): Coverage {
  const rules = new Map<number, CoveredRule>();
  const walk = (block: Block): void => {
    for (const s of block) {
      if (s.op !== "if") continue;
      const { offset, line } = s.span.start;
      if (isRule(source, s.span) && !rules.has(offset)) {
        const taken = hits.then.get(offset) ?? 0;
        const passed = hits.else.get(offset) ?? 0;
        rules.set(offset, { line, rule: s.rule ?? "", taken, passed });
      }
      walk(s.then);
      walk(s.else);
    }
  };
  for (const block of Object.values(module.entries)) walk(block);
  const list = [...rules.values()].sort((a, b) => a.line - b.line);
  const hit = list.reduce((sum, { taken, passed }) => sum + Number(taken > 0) + Number(passed > 0), 0);
  return { file, rules: list, hit, branches: list.length * 2 };
}

/** 100 for a script without rules. */
export const percentOf = (hit: number, branches: number): number =>
  branches === 0 ? 100 : Math.floor((hit / branches) * 1000) / 10;

export function coverageText(coverage: Coverage): string {
  const percent = percentOf(coverage.hit, coverage.branches);
  const lines = [`${coverage.file}: ${coverage.hit} of ${coverage.branches} branches (${percent} %)`];
  for (const { line, rule, taken, passed } of coverage.rules) {
    const never = [...(taken === 0 ? ["true"] : []), ...(passed === 0 ? ["false"] : [])];
    const words = never.length > 0 ? `never ${never.join(", never ")}` : `true ${taken}×, false ${passed}×`;
    lines.push(`  line ${line}${rule ? ` ${rule}` : ""}: ${words}`);
  }
  return `${lines.join("\n")}\n`;
}
