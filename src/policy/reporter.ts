/**
 * Collects the diagnostics of one compilation. Invariants: one place is reported once for one code, however often the
 * compiler comes past it; at most `most` are kept, errors before warnings when it must choose.
 */
import type { Range } from "../../grammar/smtpfilters/ast.ts";
import type { Diagnostic, Severity } from "../language/diagnostic.ts";
import { type Code, codes } from "./codes.ts";
import type { SourceText } from "./source.ts";

const most = 200;

export class Reporter {
  readonly strict: boolean;
  private readonly source: SourceText;
  private readonly seen = new Set<string>();
  private readonly found: Diagnostic[] = [];
  private errors = 0;

  constructor(source: SourceText, strict: boolean) {
    this.source = source;
    this.strict = strict;
  }

  report(code: Code, range: Range, message: string, hint?: string, severity: Severity = codes[code].severity): void {
    const key = `${code} ${range.start}`;
    if (this.seen.has(key)) return;
    this.seen.add(key);
    if (severity === "error") this.errors++;
    else if (this.found.length - this.errors >= most) return;
    if (severity === "error" && this.errors > most) return;
    this.found.push({ severity, code, message, ...(hint ? { hint } : {}), span: this.source.span(range) });
  }

  get failed(): boolean {
    return this.errors > 0;
  }

  /** In source order. */
  diagnostics(): Diagnostic[] {
    return [...this.found].sort((a, b) => a.span.start.offset - b.span.start.offset);
  }
}
