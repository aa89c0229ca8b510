/** Short forms for IR in tests, and a host that keeps a record of what it was asked to do. */
import type { Host } from "../../../src/language/host.ts";
import type { Block, Data, IfStatement, Module, Statement, Subject, Test, Value } from "../../../src/language/ir.ts";
import { noSpan as span } from "../../../src/language/span.ts";

export const text = (value: string): Value => ({ op: "const", text: value });
export const slot = (index: number): Value => ({ op: "slot", slot: index });
export const one = (value: Value): Subject => ({ op: "one", value });
export const set = (index: number, value: Value): Statement => ({ op: "set", slot: index, value, span });
export const note = (...args: Value[]): Statement => ({ op: "effect", kind: "note", args, data: {}, span });
export const stop: Statement = { op: "stop", span };
export const yes: Test = { op: "const", value: true, span };

export function is(subject: Subject, ...keys: string[]): Extract<Test, { op: "match" }> {
  return { op: "match", subject, how: "is", fold: "octet", keys: keys.map(text), span };
}

export function when(test: Test, then: Block, otherwise: Block = []): IfStatement {
  return { op: "if", test, then, else: otherwise, span };
}

export function lookup(name: string, reads: number[], writes: number[], sees?: string[], data: Data = {}): Statement {
  return { op: "lookup", name, reads, writes, data, ...(sees && { sees }), span };
}

export function header(name: string): Subject {
  return { op: "host", source: "header", data: { name }, args: [], stable: true, invalidatedBy: ["edit"] };
}

export function moduleOf(main: Block, options: Partial<Module> = {}): Module {
  const slots = Array.from({ length: 8 }, (_, i) => ({ name: `s${i}`, kind: "custom" as const }));
  return { language: "smtpfilters", file: "test", slots, entries: { main }, routines: [], ...options };
}

export interface Recorded extends Host {
  readonly acts: string[];
}

/** Answers nothing in particular; `overrides` replaces single answers. */
export function recorder(overrides: Partial<Host> = {}): Recorded {
  const acts: string[] = [];
  return {
    acts,
    source: () => [],
    value: () => "",
    ask: () => false,
    inList: () => false,
    effect: (kind, _data, args) => void acts.push([kind, ...args].join(" ")),
    lookup: () => undefined,
    exported: (index) => void acts.push(`export ${index}`),
    captured: (groups) => void acts.push(`captured ${groups.join("|")}`),
    eachBegin: () => {},
    eachNext: () => false,
    eachEnd: () => {},
    ...overrides,
  };
}
