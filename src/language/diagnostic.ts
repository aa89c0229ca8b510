/**
 * Diagnostics of scripts, Sieve, configuration and tests, and their one printed form:
 * `file:line:col: error|warning CODE message`, the source line, a caret line, and a hint.
 * Invariants: `message` says what is wrong, `hint` what to write instead. Printing never throws on odd spans.
 */
import type { Span } from "./span.ts";

export type Severity = "error" | "warning" | "info";

export interface Diagnostic {
  severity: Severity;
  /** Stable code with a page in docs/reference/diagnostics.md: P… smtpFilters, S… Sieve, C… configuration. */
  code: string;
  message: string;
  hint?: string;
  span: Span;
}

const tabWidth = 4;

/** Text form, ending in a newline; `source` is the file's text, or undefined when it can't be shown. */
export function formatDiagnostic(d: Diagnostic, source: string | undefined): string {
  const { file, start, end } = d.span;
  let out = `${file}:${start.line}:${start.column}: ${d.severity} ${d.code} ${d.message}\n`;
  const line = source?.split(/\r\n|\n|\r/, start.line)[start.line - 1];
  if (line !== undefined && line.length <= 2_000) {
    const width = end.line === start.line ? Math.max(1, end.column - start.column) : 1;
    const lead = line.slice(0, start.column - 1).replace(/\t/g, " ".repeat(tabWidth)).length;
    const shown = line.replace(/\t/g, " ".repeat(tabWidth)).replace(/[\x00-\x1f\x7f]/g, "?");
    out += `    ${shown}\n    ${" ".repeat(lead)}${"^".repeat(Math.min(width, Math.max(1, shown.length - lead)))}\n`;
  }
  if (d.hint) out += `    hint: ${d.hint}\n`;
  return out;
}

export function hasErrors(list: readonly Diagnostic[]): boolean {
  return list.some((d) => d.severity === "error");
}

/** JSON form for `--json`: positions flattened. */
export function diagnosticJson(d: Diagnostic): Record<string, unknown> {
  const { file, start, end } = d.span;
  return {
    file,
    line: start.line,
    column: start.column,
    endLine: end.line,
    endColumn: end.column,
    severity: d.severity,
    code: d.code,
    message: d.message,
    ...(d.hint ? { hint: d.hint } : {}),
  };
}
