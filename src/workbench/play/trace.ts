/**
 * Collects what one event did: the rules tried with the values their tests saw, what was set, what was asked.
 * Statements that the compiler added (for `export`, `rate`, `onError`) are left out: only an `if` of the author's text
 * is a rule. Counts over all events of a run, for coverage.
 */
import type { Trace } from "../../language/host.ts";
import type { Span } from "../../language/span.ts";
import { hidden } from "../../policy/slots.ts";
import type { EventName, PolicySession } from "../../policy/types.ts";

export interface TriedTest {
  line: number;
  /** The test as written. */
  test: string;
  values: string[];
  result: boolean;
}

export interface TriedRule {
  line: number;
  rule: string;
  result: boolean;
  tests: TriedTest[];
}

/** How often each statement ran (key: offset of its text), and how often each `if` went which way. */
export interface Hits {
  then: Map<number, number>;
  else: Map<number, number>;
}

const shownText = 120;
const hiddenNames: ReadonlySet<string> = new Set(Object.values(hidden));

export class RuleTrace implements Trace {
  readonly hits: Hits = { then: new Map(), else: new Map() };
  path: TriedRule[] = [];
  writes: Record<string, string> = {};
  /** Predefined methods called, in order. */
  lookups: string[] = [];
  private tests: TriedTest[] = [];
  private readonly source: string;

  constructor(source: string) {
    this.source = source;
  }

  /** An event begins; `_event` and `_session` are for traces that look further than this one. */
  begin(_event?: EventName, _session?: PolicySession): void {
    this.path = [];
    this.writes = {};
    this.lookups = [];
    this.tests = [];
  }

  test(span: Span, _rule: string | undefined, result: boolean, values: readonly string[]): void {
    const test = this.source.slice(span.start.offset, span.end.offset).replace(/\s+/g, " ");
    const shown = test.length > shownText ? `${test.slice(0, shownText)}…` : test;
    this.tests.push({ line: span.start.line, test: shown, values: [...values], result });
  }

  statement(span: Span, rule: string | undefined, kind: string, detail: string): void {
    if (kind === "set") {
      const written = writtenBy(detail);
      if (written) this.writes[written.name] = written.value;
    }
    if (kind === "lookup") this.lookups.push(detail.split(" ", 1)[0]!);
    else if (kind === "if" && isRule(this.source, span)) {
      const result = detail === "then";
      this.path.push({ line: span.start.line, rule: rule ?? "", result, tests: this.tests });
      this.tests = [];
      const counts = result ? this.hits.then : this.hits.else;
      counts.set(span.start.offset, (counts.get(span.start.offset) ?? 0) + 1);
    }
  }
}

/** What a "set" statement wrote; undefined for slots of the compiler's own: no script can write their names. */
export function writtenBy(detail: string): { name: string; value: string } | undefined {
  const at = detail.indexOf(" = ");
  const name = detail.slice(0, at);
  if (name.startsWith("(") || hiddenNames.has(name)) return undefined;
  return { name, value: detail.slice(at + 3).replace(/\x01([A-Za-z]+)\x02/g, "%$1%") };
}

/** Is the `if` at this place the author's? */
export const isRule = (source: string, span: Span): boolean =>
  source.slice(span.start.offset, span.start.offset + 2).toLowerCase() === "if";
