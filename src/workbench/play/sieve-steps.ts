/**
 * Records a run of a Sieve script on one message step by step, for the debugger: each test, command and branch with the
 * variables that it changed, through included scripts too, and at the end what becomes of the message.
 * Failure: `recordSieve` throws an Error with the diagnostics of a script that does not compile.
 */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import type { CommandNode } from "../../../grammar/sieve/ast.ts";
import { type Budget, budgetDefaults } from "../../config/budget.ts";
import { formatDiagnostic } from "../../language/diagnostic.ts";
import type { Trace } from "../../language/host.ts";
import type { Span } from "../../language/span.ts";
import { printable } from "../../message/outcome.ts";
import { analyseSieve, compileSieve } from "../../sieve/compile.ts";
import { fileIncludes } from "../../sieve/include-files.ts";
import { runSieve, type SieveResult } from "../../sieve/run.ts";
import { excerptOf, type Happening, StepList } from "../dap/step-list.ts";
import type { Recording } from "../dap/timeline.ts";
import { messageToPlay } from "./sieve-message.ts";
import { writtenBy } from "./trace.ts";

/** Commands that end a message's way to its mailbox. */
const refusals: ReadonlySet<string> = new Set(["reject", "ereject", "discard"]);

export interface SievePlay {
  /** Path of the script, and its text. */
  path: string;
  source: string;
  message: Uint8Array;
  from?: string | undefined;
  to?: string | undefined;
}

export function recordSieve(
  { path, source, message, from, to }: SievePlay,
  budget: Budget = budgetDefaults,
): Recording {
  const options = { file: path, budget, includeLoader: fileIncludes(dirname(path)) };
  const compiled = compileSieve(source, { ...options, traced: true });
  if (!compiled.ok)
    throw new Error(
      compiled.diagnostics
        .map((each) => formatDiagnostic(each, source))
        .join("")
        .trim(),
    );
  const trace = new SieveTrace(path, source, budget.debugSteps);
  const { envelope, message: parsed } = messageToPlay(message, { from, to });
  const result = runSieve(compiled.script, { message: parsed, envelope }, { budget, trace });
  const end = trace.close(result);
  const { commands } = analyseSieve(source, options);
  const transcript = [`from <${envelope.from}> to <${envelope.to}>`, end, ...trace.list.loss].map((line) =>
    printable(line),
  );
  return { program: path, steps: trace.list.steps, lines: linesOf(commands), transcript };
}

class SieveTrace implements Trace {
  readonly list: StepList;
  readonly #path: string;
  readonly #source: string;

  constructor(path: string, source: string, most: number) {
    this.#path = path;
    this.#source = source;
    this.list = new StepList(most);
    const start = { offset: 0, line: 1, column: 1 };
    this.#add({ file: path, start, end: start }, { kind: "event", detail: "the script begins" });
  }

  test(span: Span, _rule: string | undefined, result: boolean, values: readonly string[]): void {
    const saw = values.map((value) => `"${printable(value)}"`).join(", ");
    this.#add(span, { kind: "test", detail: `${this.#excerpt(span)} is ${result}${saw ? `: saw ${saw}` : ""}` });
  }

  statement(span: Span, _rule: string | undefined, kind: string, detail: string): void {
    if (kind === "if") {
      if (!/^(els)?if\b/i.test(this.#excerpt(span) || "if")) return;
      this.#add(span, { kind, detail: detail === "then" ? "the test is true" : "the test is false" });
    } else if (kind === "set") {
      const written = writtenBy(detail);
      if (!written) return;
      const { name, value } = written;
      this.#add(span, { kind, detail: `${name} = "${printable(value)}"`, changes: [[name, value]] });
    } else if (kind === "effect" || kind === "stop") {
      const refusal = (kind === "effect" && refusals.has(detail.split(" ", 1)[0]!)) || undefined;
      this.#add(span, { kind, detail: printable(`${kind === "stop" ? kind : ""}${detail}`), refusal });
    }
  }

  /** What becomes of the message, in words; the last step says so too. */
  close(result: SieveResult): string {
    const [error] = result.errors;
    const done = result.actions.map(({ action, ...rest }) => `${action}${targetOf(rest)}`);
    if (result.implicitKeep) done.push("implicit keep");
    const end = error ? `line ${error.line}: ${error.message}; implicit keep` : done.join(", ") || "nothing";
    const lines = this.#source.split(/\r\n|\n/);
    const last = {
      offset: this.#source.length,
      line: Math.max(1, lines.length - Number(lines.at(-1) === "")),
      column: 1,
    };
    this.#add({ file: this.#path, start: last, end: last }, { kind: "end", detail: end });
    return end;
  }

  #add(span: Span, happening: Omit<Happening, "event" | "occurrence">): void {
    const file = span.file === this.#path ? undefined : includedPath(this.#path, span.file);
    this.list.add(span, {
      event: span.file === this.#path ? "script" : span.file,
      occurrence: 0,
      ...happening,
      ...(file ? { file } : {}),
    });
  }

  /** The words of a place in the main script; "" in others, whose text is not at hand. */
  #excerpt(span: Span): string {
    return span.file === this.#path ? excerptOf(this.#source, span) : "";
  }
}

function targetOf(action: object): string {
  const { folder, address, reason } = action as { folder?: string; address?: string; reason?: string };
  const target = folder ?? address ?? reason;
  return target === undefined ? "" : ` "${target}"`;
}

/** Spans name an included script by its name alone; it lies where fileIncludes found it. */
function includedPath(path: string, name: string): string {
  const beside = join(dirname(path), name);
  return existsSync(beside) ? beside : join(dirname(path), "global", name);
}

function linesOf(commands: readonly CommandNode[]): number[] {
  const lines = new Set<number>();
  const tests = (nodes: readonly CommandNode[]): void => {
    for (const node of nodes) {
      lines.add(node.span.start.line);
      tests(node.tests);
    }
  };
  const walk = (nodes: readonly CommandNode[]): void => {
    for (const node of nodes) {
      if (node.name.toLowerCase() !== "require") lines.add(node.span.start.line);
      tests(node.tests);
      walk(node.block ?? []);
    }
  };
  walk(commands);
  return [...lines].sort((a, b) => a - b);
}
