/** CodeMirror's own parser over our tokenizer: styles of each kind of token, texts over lines, completion words. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Language } from "@codemirror/language";
import { type CompletionContext, completer, sieve, smtpFilters } from "../../../src/workbench/codemirror/index.ts";
import { sieveWords, smtpFiltersWords } from "../../../src/workbench/codemirror/words.ts";

/** "style text" of each token. */
function tokens(language: Language, source: string): string[] {
  const found: string[] = [];
  language.parser.parse(source).iterate({
    enter: ({ name, from, to, node }) => {
      if (!node.firstChild) found.push(`${name} ${source.slice(from, to)}`);
    },
  });
  return found;
}

test("smtpFilters: words, texts with expansions, comments over lines", () => {
  const source = 'event onMailFrom { /* a\nb */ set (smtpAction, "a %mailFrom% \\" b\n c"); own = 12; } # end';
  assert.deepEqual(tokens(smtpFilters(smtpFiltersWords), source), [
    "keyword event",
    "atom onMailFrom",
    "bracket {",
    "comment /* a",
    "comment b */",
    "keyword set",
    "bracket (",
    "variableName.special smtpAction",
    "punctuation ,",
    'string "a ',
    "variableName.special %mailFrom%",
    'string  \\" b',
    'string  c"',
    "bracket )",
    "punctuation ;",
    "variableName own",
    "punctuation =",
    "number 12",
    "punctuation ;",
    "bracket }",
    "comment # end",
  ]);
});

test("Sieve: tags, multi-line texts", () => {
  const source = `if header :contains "a" "\${b}" { vacation text:\nnot if\n.\n; }`;
  assert.deepEqual(
    tokens(sieve(sieveWords), source).filter((token) => !/^(bracket|punctuation)/.test(token)),
    [
      "keyword if",
      "operatorKeyword header",
      "attributeName :contains",
      'string "a"',
      'string "',
      `variableName.special \${b}`,
      'string "',
      "variableName.function vacation",
      "string text:",
      "string not if",
      "string .",
    ],
  );
});

test("completion offers the vocabulary", () => {
  const autocomplete = completer(sieveWords);
  const at = (text: string, explicit = false): CompletionContext => ({
    explicit,
    matchBefore: (expression) => {
      const found = new RegExp(`(?:${expression.source})$`).exec(text);
      return found ? { from: found.index, to: text.length, text: found[0] } : null;
    },
  });
  assert.ok(autocomplete(at("filei"))?.options.some(({ label }) => label === "fileinto"));
  assert.ok(autocomplete(at(":con"))?.options.some(({ label }) => label === ":contains"));
  assert.equal(autocomplete(at("")), null);
});

test("words are plain data", () => {
  for (const words of [sieveWords, smtpFiltersWords]) assert.deepEqual(JSON.parse(JSON.stringify(words)), words);
  assert.ok(sieveWords.text.some(([word]) => word === "vacation-seconds"));
});
