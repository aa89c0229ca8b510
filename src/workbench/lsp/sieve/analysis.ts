/**
 * A Sieve script under an editor. Diagnostics are those of `postern check`; words come from the registry of extensions.
 * Scripts included are looked for beside the script.
 */
import { dirname, join } from "node:path";
import { CompletionItemKind as Kind, SymbolKind } from "vscode-languageserver/node";
import type { ArgumentNode, CommandNode } from "../../../../grammar/sieve/ast.ts";
import { analyseSieve, type SieveAnalysis } from "../../../sieve/compile.ts";
import { registry } from "../../../sieve/extensions/index.ts";
import { fileIncludes } from "../../../sieve/include-files.ts";
import type { Extension } from "../../../sieve/registry.ts";
import { suiteRegistry } from "../../../sieve/testsuite/index.ts";
import { fixOf } from "../hints.ts";
import type { Analysis, Completion, Edit, Fix, Hover, Occurrences, OutlineItem, Range } from "../language.ts";
import { touches } from "../language.ts";
import { cursorAt, type Place } from "./cursor.ts";
import { indented } from "./indent.ts";
import { type VariablePlace, variablePlaces } from "./variables.ts";
import * as words from "./words.ts";

export const analyseSieveText = (source: string, path: string | undefined): Analysis => new SieveText(source, path);

/** Characters of a title in the outline. */
const titleLength = 60;

class SieveText implements Analysis {
  private readonly source: string;
  private readonly path: string | undefined;
  private result: SieveAnalysis | undefined;
  private places: VariablePlace[] | undefined;

  constructor(source: string, path: string | undefined) {
    this.source = source;
    this.path = path;
  }

  private get analysed(): SieveAnalysis {
    const { path } = this;
    this.result ??= analyseSieve(this.source, {
      file: path ?? "script",
      ...(path?.endsWith(".svtest") ? { registry: suiteRegistry } : {}),
      ...(path === undefined ? {} : { includeLoader: fileIncludes(dirname(path)) }),
    });
    return this.result;
  }

  diagnostics() {
    return this.analysed.diagnostics;
  }

  complete(offset: number): Completion[] {
    const { place, word } = cursorAt(this.source, offset);
    const required = this.requireStatements().flatMap(({ names }) => names);
    const item = (label: string, kind: Kind, extension: Extension | undefined, doc: string): Completion => {
      const missing = extension && !isAvailable(extension, required);
      const also = missing ? this.requireEdit(extension.capability) : undefined;
      const detail = extension && words.requirement(extension);
      return { label, kind, doc, replace: word, ...(detail ? { detail } : {}), ...(also ? { also } : {}) };
    };
    return this.candidates(place, required, item);
  }

  private candidates(
    place: Place,
    required: readonly string[],
    item: (label: string, kind: Kind, extension: Extension | undefined, doc: string) => Completion,
  ): Completion[] {
    switch (place.kind) {
      case "nothing":
        return [];
      case "command":
        return [...words.commands.values()]
          .filter(({ name }) => place.afterIf || (name !== "elsif" && name !== "else"))
          .map((word) => item(word.name, Kind.Function, word.extension, words.wordDoc(word)));
      case "test":
        return [...words.tests.values()].map((word) =>
          item(word.name, Kind.Operator, word.extension, words.wordDoc(word)),
        );
      case "tag": {
        const word = words.findWord(place.construct, place.of);
        return (word ? words.tagsOf(word) : []).map((tag) =>
          item(tag.tag.name, Kind.Property, tag.extension, words.tagDoc(tag)),
        );
      }
      case "capability":
        return registry.capabilities
          .filter((name) => !required.includes(name))
          .map((name) => item(name, Kind.Module, undefined, words.capabilityDoc(registry.extensions.get(name)!)));
      case "variable": {
        const names = new Map(this.variables.filter((at) => at.defines).map((at) => [at.key, at.name]));
        return [...names.values()].map((name) => item(name, Kind.Variable, undefined, "A variable of this script."));
      }
    }
  }

  hover(offset: number): Hover | undefined {
    const at = this.nodeAt(offset);
    if (!at) return undefined;
    const { node, argument } = at;
    const word = words.findWord(node.kind, node.name);
    if (argument === undefined) return word && { ...rangeOf(node.nameSpan), markdown: words.wordDoc(word) };
    if (argument.kind === "tag") {
      const name = argument.name.toLowerCase();
      const tag = word && words.tagsOf(word).find((candidate) => candidate.tag.name === name);
      return tag && { ...rangeOf(argument.span), markdown: words.tagDoc(tag) };
    }
    const string = stringAt(argument, offset);
    const extension = node.name.toLowerCase() === "require" && string && registry.extensions.get(string.text);
    if (!extension) return undefined;
    return {
      ...rangeOf(string.span),
      markdown: `**${extension.capability}** (${extension.specification})\n\n${words.capabilityDoc(extension)}`,
    };
  }

  occurrences(offset: number): Occurrences | undefined {
    const at = this.variables.find((place) => touches(place, offset));
    if (!at) return undefined;
    const all = this.variables.filter((place) => place.key === at.key);
    return {
      name: at.name,
      at,
      all,
      definition: all.find((place) => place.defines),
      refuses: (name) => this.refuses(at, name),
    };
  }

  private refuses(at: VariablePlace, name: string): string | undefined {
    const key = name.toLowerCase();
    if (!/^[a-z_][a-z0-9_]{0,31}$/.test(key))
      return "a name is up to 32 letters, digits and _, and begins with no digit";
    const taken = key !== at.key && this.variables.some((place) => place.key === key);
    return taken ? `${name} exists already` : undefined;
  }

  linkedFile(offset: number): string | undefined {
    const at = this.nodeAt(offset);
    const name = at?.argument && stringAt(at.argument, offset)?.text;
    if (!at || !name || at.node.name.toLowerCase() !== "include" || this.path === undefined) return undefined;
    // Names of stored scripts hold no path (RFC 6609 §3.2).
    if (/[/\\\0]/.test(name) || name === "." || name === "..") return undefined;
    const global = at.node.arguments.some((other) => other.kind === "tag" && other.name.toLowerCase() === "global");
    return join(dirname(this.path), global ? "global" : "", `${name}.sieve`);
  }

  outline(): OutlineItem[] {
    const item = (node: CommandNode): OutlineItem => ({
      name: this.titleOf(node),
      kind: node.block ? SymbolKind.Namespace : SymbolKind.Function,
      ...rangeOf(node.span),
      title: rangeOf(node.nameSpan),
      children: (node.block ?? []).map(item),
    });
    return this.analysed.commands.map(item);
  }

  /** The command up to its block, on one line. */
  private titleOf(node: CommandNode): string {
    const end = node.block?.[0]?.span.start.offset ?? node.span.end.offset;
    const start = node.span.start.offset;
    const text = this.source.slice(start, Math.min(end, start + 200)).split(/[{;]/, 1)[0]!;
    const line = text.replace(/\s+/g, " ").trim() || node.name;
    return line.length > titleLength ? `${line.slice(0, titleLength)}…` : line;
  }

  formatted(): string | undefined {
    return this.analysed.failed === "parse" ? undefined : indented(this.source);
  }

  fixes(range: Range): Fix[] {
    return this.analysed.diagnostics.flatMap((diagnostic) => {
      const { start, end } = diagnostic.span;
      if (end.offset < range.start || start.offset > range.end) return [];
      return fixOf(diagnostic, this.source, (capability) => this.requireEdit(capability)) ?? [];
    });
  }

  private get variables(): VariablePlace[] {
    this.places ??= variablePlaces(this.analysed.commands, this.source);
    return this.places;
  }

  private requireStatements(): Array<{ node: CommandNode; names: string[] }> {
    return this.analysed.commands
      .filter((node) => node.name.toLowerCase() === "require")
      .map((node) => ({
        node,
        names: node.arguments.flatMap((argument) => stringsOf(argument).map(({ text }) => text)),
      }));
  }

  /** Adds to the last `require`, or makes the first, in the first line that is no comment. */
  private requireEdit(capability: string): Edit {
    const last = this.requireStatements().at(-1);
    const argument = last?.node.arguments[0];
    if (argument?.kind === "list" && argument.items.length > 0) {
      const at = argument.items.at(-1)!.span.end.offset;
      return { start: at, end: at, text: `, "${capability}"` };
    }
    if (argument?.kind === "string") {
      const { start, end } = rangeOf(argument.span);
      return { start, end, text: `[${this.source.slice(start, end)}, "${capability}"]` };
    }
    const first = this.analysed.commands[0]?.span.start.offset ?? 0;
    return { start: first, end: first, text: `require "${capability}";\n` };
  }

  /** The innermost command or test at a place, with the argument there. */
  private nodeAt(offset: number): { node: CommandNode; argument: ArgumentNode | undefined } | undefined {
    let found: ReturnType<SieveText["nodeAt"]>;
    const walk = (nodes: readonly CommandNode[]): void => {
      for (const node of nodes) {
        if (!touches(rangeOf(node.span), offset)) continue;
        const argument = node.arguments.find(({ span }) => touches(rangeOf(span), offset));
        if (argument || touches(rangeOf(node.nameSpan), offset)) found = { node, argument };
        walk(node.tests);
        walk(node.block ?? []);
      }
    };
    walk(this.analysed.commands);
    return found;
  }
}

const rangeOf = ({ start, end }: { start: { offset: number }; end: { offset: number } }): Range => ({
  start: start.offset,
  end: end.offset,
});

const stringsOf = (argument: ArgumentNode) =>
  argument.kind === "list" ? argument.items : argument.kind === "string" ? [argument] : [];

const stringAt = (argument: ArgumentNode, offset: number) =>
  stringsOf(argument).find(({ span }) => touches(rangeOf(span), offset));

function isAvailable(extension: Extension, required: readonly string[]): boolean {
  if (extension.capability === "" || extension.preloaded || required.includes(extension.capability)) return true;
  return required.some((name) => registry.extensions.get(name)?.implies?.includes(extension.capability));
}
