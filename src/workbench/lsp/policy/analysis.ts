/**
 * A smtpFilters script under an editor. Diagnostics are those of `postern check`; names come from the tree, what can be
 * typed from the tokens before the cursor (cursor.ts). Texts beyond the budget get their one diagnostic and no more.
 */
import { SymbolKind } from "vscode-languageserver/node";
import type { Block, Script, Statement } from "../../../../grammar/smtpfilters/ast.ts";
import { print } from "../../../../grammar/smtpfilters/print.ts";
import { budgetDefaults } from "../../../config/budget.ts";
import type { Diagnostic } from "../../../language/diagnostic.ts";
import { analysePolicy } from "../../../policy/compile.ts";
import {
  findAction,
  findComparator,
  findEvent,
  findMethod,
  findVariable,
  isPredefinedVariable,
} from "../../../policy/names.ts";
import { otherTests } from "../../../policy/vocabulary.ts";
import { fixOf } from "../hints.ts";
import type { Analyse, Analysis, Completion, Fix, Hover, Occurrences, OutlineItem, Range } from "../language.ts";
import { touches } from "../language.ts";
import { type ParsedBlocks, parseBlocks } from "./blocks.ts";
import { completions, type OwnNames } from "./complete.ts";
import { cursorAt } from "./cursor.ts";
import { actionWords, comparatorWords, eventWords, methodWords, paragraphs, variableWords } from "./describe.ts";
import { eventsOfBlock, type Reference, references } from "./references.ts";

export const analysePolicyText: Analyse = (source, path, before) =>
  new PolicyText(source, path ?? "script", before instanceof PolicyText ? before.parsed.blocks : undefined);

const nothingParsed: ReturnType<typeof parseBlocks> = {
  result: { script: { blocks: [], comments: [] }, problems: [] },
  blocks: new Map(),
};

class PolicyText implements Analysis {
  private readonly source: string;
  private readonly file: string;
  private readonly blocksBefore: ParsedBlocks | undefined;
  private found: Diagnostic[] | undefined;
  private tree: ReturnType<typeof parseBlocks> | undefined;
  private names: Reference[] | undefined;

  constructor(source: string, file: string, blocksBefore: ParsedBlocks | undefined) {
    this.source = source;
    this.file = file;
    this.blocksBefore = blocksBefore;
  }

  get parsed(): ReturnType<typeof parseBlocks> {
    this.tree ??= this.tooLarge ? nothingParsed : parseBlocks(this.source, this.blocksBefore);
    return this.tree;
  }

  diagnostics(): readonly Diagnostic[] {
    this.found ??= analysePolicy(this.source, { file: this.file }, this.parsed.result).diagnostics;
    return this.found;
  }

  complete(offset: number): Completion[] {
    if (this.tooLarge) return [];
    const cursor = cursorAt(this.source, offset);
    const { block } = cursor;
    const around = this.references.find(
      ({ kind, text, defines }) => block && defines && kind === block.kind && text === block.name,
    )?.block;
    const event = block?.kind === "event" ? findEvent(block.name) : undefined;
    const events = event ? [event] : around ? eventsOfBlock(this.references, around) : [];
    return completions(cursor, events, this.ownNames(cursor.word));
  }

  hover(offset: number): Hover | undefined {
    const at = this.referenceAt(offset);
    const markdown = at && this.describe(at);
    return at && markdown ? { start: at.start, end: at.end, markdown } : undefined;
  }

  occurrences(offset: number): Occurrences | undefined {
    const at = this.referenceAt(offset);
    if (!at || (at.kind !== "method" && at.kind !== "variable")) return undefined;
    const { kind } = at;
    const all = this.references.filter((other) => sameName(at, other));
    const predefined = kind === "method" ? findMethod(at.text) !== undefined : isPredefinedVariable(at.text);
    return {
      name: at.text,
      at,
      all,
      definition: predefined ? undefined : all.find((other) => other.defines),
      ...(predefined ? { fixed: `${at.text} is a predefined ${kind}` } : {}),
      refuses: (name) => this.refuses(at, name),
    };
  }

  linkedFile(): undefined {
    return undefined;
  }

  outline(): OutlineItem[] {
    // The parser makes up an empty name where one is missing.
    const named = this.script.blocks.filter((block) => block.name.text !== "");
    return named.map((block) => ({
      name: block.name.text,
      detail: block.kind,
      kind: block.kind === "event" ? SymbolKind.Event : SymbolKind.Method,
      ...rangeOf(block),
      title: rangeOf(block.name),
      children: rules(block.body),
    }));
  }

  formatted(): string | undefined {
    if (this.tooLarge) return undefined;
    const { script, problems } = this.parsed.result;
    return problems.every((problem) => problem.warning) ? print(script, this.source) : undefined;
  }

  fixes(range: Range): Fix[] {
    return this.diagnostics().flatMap((diagnostic) => {
      const { start, end } = diagnostic.span;
      if (end.offset < range.start || start.offset > range.end) return [];
      return fixOf(diagnostic, this.source, () => undefined) ?? [];
    });
  }

  private get tooLarge(): boolean {
    return Buffer.byteLength(this.source) > budgetDefaults.scriptBytes;
  }

  private get script(): Script {
    return this.parsed.result.script;
  }

  private get references(): Reference[] {
    this.names ??= references(this.script);
    return this.names;
  }

  private referenceAt(offset: number): Reference | undefined {
    return this.references.find((reference) => touches(reference, offset));
  }

  /** `except`: the word being typed is no name yet. */
  private ownNames(except: Range): OwnNames {
    const methods = new Map<string, string>();
    const called = new Map<string, string>();
    const own = new Map<string, string>();
    const definedEvents = new Set<string>();
    for (const { kind, text, defines, start } of this.references) {
      if (start === except.start) continue;
      const key = text.toLowerCase();
      if (kind === "event") definedEvents.add(findEvent(text) ?? text);
      else if (kind === "method") (defines ? methods : called).set(key, text);
      else if (kind === "variable" && !own.has(key) && !isPredefinedVariable(text)) own.set(key, text);
    }
    const missing = [...called].filter(([key]) => !methods.has(key) && !findMethod(key)).map(([, text]) => text);
    return { methods: [...methods.values()], missingMethods: missing, variables: [...own.values()], definedEvents };
  }

  private describe(at: Reference): string | undefined {
    const { kind, text } = at;
    switch (kind) {
      case "event": {
        const event = findEvent(text);
        return event && eventWords(event);
      }
      case "method": {
        const row = findMethod(text);
        return row ? methodWords(row) : this.describeMethod(text);
      }
      case "variable":
        return this.describeVariable(at);
      case "test": {
        const row = findComparator(text);
        const other = otherTests.find((test) => test.name.toLowerCase() === text.toLowerCase());
        return row ? comparatorWords(row) : other && paragraphs(`**${other.usage}**`, other.doc);
      }
      case "action": {
        const row = findAction(text);
        return row && actionWords(row);
      }
      case "onError":
        return undefined;
    }
  }

  private describeVariable(at: Reference): string {
    const events = eventsOfBlock(this.references, at.block);
    const known = findVariable(at.text, events[0] ?? "onConnect", at.defines ? "write" : "read");
    if (known) return variableWords(known.row, known.name, events);
    const sets = this.references.filter((other) => other.defines && sameName(at, other)).length;
    return paragraphs(`**${at.text}**: a variable of this script`, `Set in ${sets} place${sets === 1 ? "" : "s"}.`);
  }

  /** The comment above a method is its description. */
  private describeMethod(name: string): string | undefined {
    const block = this.methodNamed(name);
    if (!block) return undefined;
    const events = eventsOfBlock(this.references, block);
    return paragraphs(
      `**method ${block.name.text}**`,
      this.commentAbove(block),
      events.length > 0 ? `Runs in ${events.join(", ")}.` : "Never called.",
    );
  }

  private methodNamed(name: string): Block | undefined {
    const key = name.toLowerCase();
    return this.script.blocks.find((block) => block.kind === "method" && block.name.text.toLowerCase() === key);
  }

  private commentAbove(block: Block): string {
    const lines: string[] = [];
    let below = block.start;
    for (const comment of this.script.comments.toReversed()) {
      if (comment.end > below) continue;
      if (!/^[ \t]*(\r\n|\n|\r)[ \t]*$/.test(this.source.slice(comment.end, below))) break;
      lines.unshift(comment.text.replace(/^#+\s?/, ""));
      below = comment.start;
    }
    return lines.join("\n");
  }

  private refuses({ kind, text }: Reference, name: string): string | undefined {
    if (!/^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(name))
      return "a name is letters, digits and _, and begins with no digit";
    if (name.toLowerCase() === text.toLowerCase()) return undefined;
    if (kind === "method" ? findMethod(name) : isPredefinedVariable(name)) return `${name} is a predefined ${kind}`;
    const wanted = { kind, text: name };
    return this.references.some((other) => sameName(wanted, other)) ? `${name} exists already` : undefined;
  }
}

/** Names are compared without case. */
const sameName = (a: Pick<Reference, "kind" | "text">, b: Reference): boolean =>
  a.kind === b.kind && a.text.toLowerCase() === b.text.toLowerCase();

const rangeOf = ({ start, end }: Range): Range => ({ start, end });

/** Named rules of a body, in each other. */
function rules(body: readonly Statement[]): OutlineItem[] {
  return body.flatMap((statement): OutlineItem[] => {
    if (statement.kind === "if") {
      return [...statement.branches.flatMap((branch) => rules(branch.body)), ...rules(statement.otherwise ?? [])];
    }
    if (statement.kind !== "rule") return [];
    return [
      {
        name: statement.name.raw.slice(1, -1) || "rule",
        kind: SymbolKind.Namespace,
        ...rangeOf(statement),
        title: rangeOf(statement.name),
        children: rules(statement.body),
      },
    ];
  });
}
