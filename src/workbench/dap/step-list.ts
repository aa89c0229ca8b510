/**
 * The steps of one recording while it grows. Invariants: at most as many as allowed, further ones are counted; a detail
 * has a bounded length. Failure: none.
 */
import type { Span } from "../../language/span.ts";
import type { Step } from "./timeline.ts";

const shownText = 200;
const shownExcerpt = 100;

/** A step without its place in the text. */
export interface Happening {
  kind: Step["kind"];
  event: string;
  occurrence: number;
  rule?: string | undefined;
  detail: string;
  changes?: Step["changes"];
  refusal?: true | undefined;
  file?: string;
}

export class StepList {
  readonly steps: Step[] = [];
  dropped = 0;
  readonly #most: number;

  constructor(most: number) {
    this.#most = most;
  }

  add(span: Span, happening: Happening): void {
    if (this.steps.length >= this.#most) this.dropped++;
    else this.steps.push(stepAt(span, happening));
  }

  /** What the console says about what is not here. */
  get loss(): string[] {
    return this.dropped > 0 ? [`${this.dropped} more steps were not recorded`] : [];
  }
}

export function stepAt({ start, end }: Span, { rule = "", changes = [], refusal, ...rest }: Happening): Step {
  const { detail } = rest;
  return {
    ...{ line: start.line, column: start.column, endLine: end.line, endColumn: end.column },
    ...{ ...rest, rule, changes },
    ...(refusal ? { refusal } : {}),
    detail: detail.length > shownText ? `${detail.slice(0, shownText)}…` : detail,
  };
}

/** The text of a place on one line. */
export function excerptOf(source: string, span: Span): string {
  const text = source.slice(span.start.offset, span.end.offset).replace(/\s+/g, " ");
  return text.length > shownExcerpt ? `${text.slice(0, shownExcerpt)}…` : text;
}
