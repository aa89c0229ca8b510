/**
 * CodeMirror 6 support for both policy languages, for the web console: `new LanguageSupport(smtpFilters(words))`. The
 * words come from words.ts, in the page itself or served as JSON. Runs in a browser; needs @codemirror/language.
 */
import { StreamLanguage } from "@codemirror/language";
import { type Form, type State, tokenizer, type Words } from "./tokenizer.ts";

const forms = {
  smtpfilters: { expansion: /^%[A-Za-z_]\w*%/, multiline: false },
  sieve: { expansion: /^\$\{[^}"]*\}/, multiline: true },
} as const satisfies Record<string, Form>;

function language(name: keyof typeof forms, words: Words): StreamLanguage<State> {
  const parser = tokenizer(name, words, forms[name]);
  const autocomplete = completer(words);
  return StreamLanguage.define({ ...parser, languageData: { ...parser.languageData, autocomplete } });
}

export const smtpFilters = (words: Words): StreamLanguage<State> => language("smtpfilters", words);
export const sieve = (words: Words): StreamLanguage<State> => language("sieve", words);

/** The part of @codemirror/autocomplete's CompletionContext that is used. */
export interface CompletionContext {
  explicit: boolean;
  matchBefore(expression: RegExp): { from: number; to: number; text: string } | null;
}

export interface CompletionResult {
  from: number;
  options: Array<{ label: string; type: string; info?: string }>;
  validFor: RegExp;
}

/** All words of the language, for CodeMirror's own filter; the language server knows more of the place. */
export function completer(words: Words): (context: CompletionContext) => CompletionResult | null {
  const options = Object.entries(words).flatMap(([type, list]) =>
    list.map(([label, info]) => ({ label, type, ...(info ? { info } : {}) })),
  );
  return (context) => {
    const word = context.matchBefore(/:?\w+|:/);
    if (!word && !context.explicit) return null;
    return word ? { from: word.from, options, validFor: /^:?\w*$/ } : null;
  };
}
