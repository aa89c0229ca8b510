/**
 * One tokenizer for both languages in CodeMirror's stream form: comments, texts with what is replaced in them, numbers,
 * tags, and words by kind. Invariants: each call moves forward; the state is two fields, so any line can be a starting
 * point. No import but types: it runs in a browser as it stands.
 */
import type { StreamParser, StringStream } from "@codemirror/language";

/** Words of each kind, with a line of documentation. */
export type Words = Readonly<
  Record<
    "keyword" | "operator" | "function" | "constant" | "variable" | "tag" | "text",
    ReadonlyArray<readonly [word: string, doc: string]>
  >
>;

export interface State {
  /** What the line begins inside of. */
  inside: "" | "text" | "comment" | "multiline";
}

/** What of a language is not words. */
export interface Form {
  /** What a text replaces, from its first character: `%name%`, `${name}`. */
  expansion: RegExp;
  /** RFC 5228 §2.4.2: `text:` begins a multi-line text. */
  multiline: boolean;
}

/** Names of CodeMirror's highlighting styles. */
const styles = {
  keyword: "keyword",
  operator: "operatorKeyword",
  function: "variableName.function",
  constant: "atom",
  variable: "variableName.special",
} as const;

export function tokenizer(name: string, words: Words, form: Form): StreamParser<State> {
  const kinds = new Map<string, string>();
  for (const kind of ["variable", "constant", "function", "operator", "keyword"] as const) {
    for (const [word] of words[kind]) kinds.set(word.toLowerCase(), styles[kind]);
  }
  return {
    name,
    startState: () => ({ inside: "" }),
    copyState: ({ inside }) => ({ inside }),
    token: (stream, state) => insideToken(stream, state, form) ?? plainToken(stream, state, form, kinds),
    languageData: { commentTokens: { line: "#", block: { open: "/*", close: "*/" } } },
  };
}

/** The style of what continues a text or comment; undefined outside of them. */
function insideToken(stream: StringStream, state: State, form: Form): string | undefined {
  switch (state.inside) {
    case "":
      return undefined;
    case "comment":
      if (!stream.skipTo("*/")) stream.skipToEnd();
      else {
        stream.match("*/");
        state.inside = "";
      }
      return "comment";
    case "multiline":
      if (stream.match(/^\.$/)) state.inside = "";
      else stream.skipToEnd();
      return "string";
    case "text":
      return textToken(stream, state, form);
  }
}

function textToken(stream: StringStream, state: State, { expansion }: Form): string {
  if (stream.match(expansion)) return "variableName.special";
  for (let char = stream.next(); char !== undefined; char = stream.next()) {
    if (char === "\\") stream.next();
    else if (char === '"') {
      state.inside = "";
      return "string";
    }
    if (stream.match(expansion, false)) return "string";
  }
  return "string";
}

function plainToken(stream: StringStream, state: State, form: Form, kinds: ReadonlyMap<string, string>): string | null {
  if (stream.eatSpace()) return null;
  if (stream.match(/^#.*/)) return "comment";
  if (stream.match("/*")) {
    state.inside = "comment";
    return "comment";
  }
  if (stream.eat('"')) {
    state.inside = "text";
    return "string";
  }
  if (form.multiline && stream.match(/^text:[ \t]*(?:#.*)?$/i)) {
    state.inside = "multiline";
    return "string";
  }
  if (stream.match(/^:[A-Za-z_]\w*/)) return "attributeName";
  if (stream.match(/^[+-]?\d+[KMG]?\b/i)) return "number";
  const word = stream.match(/^[A-Za-z_]\w*/);
  if (word && word !== true) return kinds.get(word[0].toLowerCase()) ?? "variableName";
  return /[{}()[\]]/.test(stream.next() ?? "") ? "bracket" : "punctuation";
}
