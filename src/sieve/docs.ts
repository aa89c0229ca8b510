/**
 * The generated parts of docs/reference/sieve.md: the table of extensions, the diagnostic codes, the profile statements.
 * `node src/sieve/docs.ts --write` renews them between their markers; a test holds the committed file to them.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { codes } from "./codes.ts";
import { extensions } from "./extensions/index.ts";
import { profiles, statements } from "./profile.ts";

export const docsPath = resolve(import.meta.dirname, "../../docs/reference/sieve.md");

const codeTexts: Record<keyof typeof codes, string> = {
  syntax: "The text is not as the grammar wants it: a missing `;`, bracket or quote, or characters that mean nothing.",
  unknownCommand: "No such command or test under the script's `require`s. Reported once per name.",
  unknownTag: "The command has no such tag under the script's `require`s. Reported once per name.",
  arguments: "Wrong number, type or combination of arguments.",
  subTests: "Sub-tests where there can be none, or none where they are needed; a missing `;` or `:` often shows here.",
  block: "A block is missing, or there is one too many.",
  placement:
    "The command can't stand here: `require` after other commands, `else` without `if`, `break` outside a loop.",
  capability: "No such extension.",
  value: "A value can't be used: an address, a field name, a folder name, a URI.",
  match: "Comparator and match type don't exist or don't go together; a regular expression can't be used.",
  variable: "A variable can't be named or used so.",
  include: "An included script is missing, includes itself, or has mistakes of its own.",
  limit: "A limit of the server.",
  doubtful: "A warning: legal, but it can't do what it seems to.",
  profile: "The chosen profile refuses what the RFCs allow; the message names the statement.",
};

function table(head: readonly string[], rows: ReadonlyArray<readonly string[]>): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

export function generated(): Record<string, string> {
  const inPreset = (id: string, name: keyof typeof profiles) => (profiles[name].has(id) ? "yes" : "");
  return {
    extensions: table(
      ["capability", "specification", "what it does", "example"],
      extensions.map((e) => [
        e.capability === "" ? "(base)" : `\`${e.capability}\``,
        e.specification,
        e.doc.summary,
        `\`${e.doc.example}\``,
      ]),
    ),
    codes: table(
      ["code", "meaning"],
      Object.entries(codes).map(([name, code]) => [code, codeTexts[name as keyof typeof codes]]),
    ),
    profiles: table(
      ["id", "statement", "refused by rule", "`axigen`", "`axigen-literal`"],
      Object.entries(statements).map(([id, s]) => [
        id,
        s.text,
        s.rule === undefined ? "" : (s.severity ?? "error"),
        inPreset(id, "axigen"),
        inPreset(id, "axigen-literal"),
      ]),
    ),
  };
}

/** The document with its generated parts renewed. */
export function renewed(document: string): string {
  let text = document;
  for (const [name, part] of Object.entries(generated())) {
    const [begin, end] = [`<!-- begin ${name} -->`, `<!-- end ${name} -->`];
    const [from, to] = [text.indexOf(begin), text.indexOf(end)];
    if (from < 0 || to < from) throw new Error(`docs/reference/sieve.md has no part "${name}"`);
    text = `${text.slice(0, from)}${begin}\n\n${part}\n\n${text.slice(to)}`;
  }
  return text;
}

if (import.meta.main && process.argv.includes("--write")) {
  writeFileSync(docsPath, renewed(readFileSync(docsPath, "utf8")));
}
