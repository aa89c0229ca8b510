/**
 * TextMate grammars of both languages, made from their vocabularies: `node src/workbench/textmate.ts --write`
 * writes vscode/syntaxes/*.tmLanguage.json; a test holds them current. Scopes are those that colour themes know.
 */
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { eventNames } from "../policy/events.ts";
import { aliases, variables } from "../policy/variables.ts";
import { actions, comparators, methods, onErrorWords, otherTests } from "../policy/vocabulary.ts";
import { commands, tests } from "./lsp/sieve/words.ts";

interface Rule {
  name?: string;
  match?: string;
  begin?: string;
  end?: string;
  captures?: Record<string, { name: string }>;
  patterns?: Rule[];
}

export interface Grammar {
  name: string;
  scopeName: string;
  patterns: Rule[];
}

/** Any of the words, whole and without regard to case; the longest first. */
function anyWord(words: Iterable<string>): string {
  const sorted = [...new Set(words)].sort((a, b) => b.length - a.length || (a < b ? -1 : 1));
  return `(?i)\\b(?:${sorted.join("|")})\\b`;
}

const names = (rows: ReadonlyArray<{ name: string }>): string[] => rows.map((row) => row.name);

const comments = (language: string): Rule[] => [
  { name: `comment.line.number-sign.${language}`, match: "#.*$" },
  { name: `comment.block.${language}`, begin: "/\\*", end: "\\*/" },
];

function text(language: string, inside: Rule[]): Rule {
  const escaped = { name: `constant.character.escape.${language}`, match: "\\\\." };
  return { name: `string.quoted.double.${language}`, begin: '"', end: '"', patterns: [escaped, ...inside] };
}

const smtpFilters: Grammar = {
  name: "smtpFilters",
  scopeName: "source.smtpfilters",
  patterns: [
    ...comments("smtpfilters"),
    text("smtpfilters", [
      { name: "constant.character.escape.smtpfilters", match: "%%" },
      { name: "variable.other.smtpfilters", match: "%[A-Za-z_][A-Za-z0-9_]*%" },
    ]),
    {
      match: "(?i)\\b(event|method)\\s+([A-Za-z_][A-Za-z0-9_]*)",
      captures: { 1: { name: "storage.type.smtpfilters" }, 2: { name: "entity.name.function.smtpfilters" } },
    },
    {
      match: "(?i)\\b(call)\\s*\\(\\s*([A-Za-z_][A-Za-z0-9_]*)",
      captures: { 1: { name: "keyword.control.smtpfilters" }, 2: { name: "entity.name.function.smtpfilters" } },
    },
    {
      match: `(?i)\\b(onError)\\s+(${onErrorWords.join("|")})\\b`,
      captures: { 1: { name: "keyword.control.smtpfilters" }, 2: { name: "constant.language.smtpfilters" } },
    },
    { name: "keyword.control.smtpfilters", match: anyWord(["set", "export", "if", "else", "rule", ...names(actions)]) },
    {
      name: "keyword.operator.smtpfilters",
      match: `${anyWord(["anyOf", "allOf", "not", ...names(comparators), ...names(otherTests)])}(?=\\s*\\()`,
    },
    { name: "support.function.smtpfilters", match: anyWord(names(methods)) },
    { name: "support.constant.smtpfilters", match: anyWord(eventNames) },
    { name: "support.variable.smtpfilters", match: anyWord([...names(variables), ...Object.keys(aliases)]) },
    { name: "constant.numeric.smtpfilters", match: "[+-]?\\b[0-9]+\\b" },
    { name: "variable.other.smtpfilters", match: "\\b[A-Za-z_][A-Za-z0-9_]*\\b" },
  ],
};

/** Commands of control; the others act on the message. */
const control = ["require", "if", "elsif", "else", "stop", "foreverypart", "break", "include", "return", "global"];
const combining = ["not", "anyof", "allof"];

const sieve: Grammar = {
  name: "Sieve",
  scopeName: "source.sieve",
  patterns: [
    ...comments("sieve"),
    { name: "string.unquoted.heredoc.sieve", begin: "(?i)\\btext:[ \\t]*(?:#.*)?$", end: "^\\.$" },
    text("sieve", [{ name: "variable.other.sieve", match: '\\$\\{[^}"]*\\}' }]),
    { name: "keyword.control.sieve", match: anyWord(control) },
    { name: "keyword.operator.sieve", match: anyWord(combining) },
    { name: "support.function.sieve", match: anyWord([...commands.keys()].filter((name) => !control.includes(name))) },
    { name: "keyword.operator.sieve", match: anyWord([...tests.keys()].filter((name) => !combining.includes(name))) },
    { name: "entity.other.attribute-name.sieve", match: ":[A-Za-z_][A-Za-z0-9_]*" },
    { name: "constant.numeric.sieve", match: "\\b[0-9]+[KMGkmg]?\\b" },
  ],
};

const folder = resolve(import.meta.dirname, "vscode/syntaxes");

/** The grammars by the path of their files. */
export function grammarFiles(): Map<string, Grammar> {
  const files = [
    ["smtpfilters.tmLanguage.json", smtpFilters],
    ["sieve.tmLanguage.json", sieve],
  ] as const;
  return new Map(files.map(([name, grammar]) => [resolve(folder, name), grammar]));
}

if (import.meta.main && process.argv.includes("--write")) {
  for (const [path, grammar] of grammarFiles()) writeFileSync(path, `${JSON.stringify(grammar, null, 2)}\n`);
}
