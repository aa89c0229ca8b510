/**
 * The words that highlighting and completion in a browser need, as plain data: the web console serves them as JSON, so
 * that the browser needs nothing of the compiler. Made from the same vocabularies that the compiler reads.
 */
import { eventNames } from "../../policy/events.ts";
import { variables } from "../../policy/variables.ts";
import { actions, comparators, methods, otherTests } from "../../policy/vocabulary.ts";
import { registry } from "../../sieve/extensions/index.ts";
import { commands, tagsOf, tests } from "../lsp/sieve/words.ts";
import type { Words } from "./tokenizer.ts";

const named = (rows: ReadonlyArray<{ name: string; doc: string }>): Array<[string, string]> =>
  rows.map(({ name, doc }) => [name, doc]);

export const smtpFiltersWords: Words = {
  keyword: ["event", "method", "call", "set", "export", "if", "else", "rule", "onError"].map((word) => [word, ""]),
  operator: [["anyOf", ""], ["allOf", ""], ["not", ""], ...named(comparators), ...named(otherTests)],
  function: [...named(methods), ...named(actions)],
  constant: eventNames.map((name) => [name, ""]),
  variable: named(variables),
  tag: [],
  text: [],
};

const capabilities = registry.capabilities.map((name): [string, string] => [
  name,
  registry.extensions.get(name)!.doc.summary,
]);
const summaries = (
  words: Iterable<{ name: string; extension: { doc: { summary: string } } }>,
): Array<[string, string]> => [...words].map(({ name, extension }) => [name, extension.doc.summary]);
const tags = new Set(
  [...commands.values(), ...tests.values()].flatMap((word) => tagsOf(word).map(({ tag }) => tag.name)),
);

export const sieveWords: Words = {
  keyword: ["if", "elsif", "else", "require", "stop"].map((word) => [word, ""]),
  operator: summaries(tests.values()),
  function: summaries(commands.values()),
  constant: [],
  variable: [],
  tag: [...tags].sort().map((name) => [`:${name}`, ""]),
  text: capabilities,
};
