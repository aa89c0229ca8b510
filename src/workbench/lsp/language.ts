/**
 * What the language server asks of a language: one `Analysis` for one version of one text. Places are half-open ranges
 * of UTF-16 offsets; the server turns them into lines. Invariants: an analysis never changes, never throws on any text,
 * and does its work when it is asked for (diagnostics of a version that nobody waits for cost nothing).
 */
import type { CompletionItemKind, SymbolKind } from "vscode-languageserver/node";
import type { Diagnostic } from "../../language/diagnostic.ts";

export interface Range {
  start: number;
  end: number;
}

export interface Edit extends Range {
  text: string;
}

export interface Completion {
  label: string;
  kind: CompletionItemKind;
  /** Shown beside the label: type, capability. */
  detail?: string;
  doc?: string;
  /** What is typed instead of the label; `${1:name}` are places to fill in when `snippet` is set. */
  insert?: string;
  snippet?: true;
  /** The text that the completion takes the place of. */
  replace: Range;
  /** A further change that the completion needs, such as a `require`. */
  also?: Edit;
}

export interface Hover extends Range {
  markdown: string;
}

/** All places of one name. */
export interface Occurrences {
  name: string;
  /** The place asked for. */
  at: Range;
  all: Range[];
  definition: Range | undefined;
  /** Why it can't be renamed, undefined when it can. */
  fixed?: string;
  /** Why it can't be given this name, undefined when it can. */
  refuses(name: string): string | undefined;
}

export interface OutlineItem extends Range {
  name: string;
  detail?: string;
  kind: SymbolKind;
  /** The part to show as selected. */
  title: Range;
  children: OutlineItem[];
}

export interface Fix {
  title: string;
  diagnostic: Diagnostic;
  edit: Edit;
}

export interface Analysis {
  diagnostics(): readonly Diagnostic[];
  complete(offset: number): Completion[];
  hover(offset: number): Hover | undefined;
  /** Every place of the name at `offset`; undefined when there is none. */
  occurrences(offset: number): Occurrences | undefined;
  /** A file that the text at `offset` names. */
  linkedFile(offset: number): string | undefined;
  outline(): OutlineItem[];
  /** The whole text in its one layout; undefined when it can't be read. */
  formatted(): string | undefined;
  /** Fixes of what is wrong within the range. */
  fixes(range: Range): Fix[];
}

/**
 * `path`: where the text lies, for what it includes; undefined when it lies nowhere yet. `before`: the analysis of the
 * version before, of the same language.
 */
export type Analyse = (source: string, path: string | undefined, before?: Analysis) => Analysis;

export const touches = (range: Range, offset: number): boolean => range.start <= offset && offset <= range.end;
