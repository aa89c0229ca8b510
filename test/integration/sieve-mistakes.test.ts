/**
 * Mistakes in scripts, counted as Debian's sievec counts them: valid statements of each extension with one or two words
 * taken out, doubled, moved or changed. Test suites written for Pigeonhole rely on these numbers. Seeded;
 * POSTERN_SIEVE_MISTAKES sets how many scripts (100).
 */
import { deepEqual } from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { compileSieve } from "../../src/sieve/compile.ts";
import { suiteSettings } from "../../src/sieve/testsuite/settings.ts";
import { type Pick, pigeonhole, seeded } from "./pigeonhole.ts";

const scripts = Number(process.env.POSTERN_SIEVE_MISTAKES ?? 100);

/** Capabilities and a statement that is right. */
const statements: ReadonlyArray<readonly [requires: string, statement: string]> = [
  ["", 'if header "a" "b" { keep; } elsif true { discard; } else { stop; }'],
  ["", 'if allof (true, not false, anyof (header :contains "a" ["b", "c"], size :over 1K)) { keep; }'],
  ["", 'if address :domain :is ["from", "to"] "x" { keep; }'],
  ["", 'if exists ["a", "b"] { redirect "a@example.org"; }'],
  ["fileinto,copy,imap4flags,mailbox", 'fileinto :copy :create :flags "x" "INBOX";'],
  ["envelope,subaddress", 'if envelope :detail :matches "to" "x" { keep; }'],
  ["relational,comparator-i;ascii-numeric", 'if header :value "gt" :comparator "i;ascii-numeric" "a" "3" { keep; }'],
  ["variables", 'set :lower :length "a" "b"; if string :matches ["a", "b"] "*" { keep; }'],
  [
    "vacation",
    'vacation :days 7 :subject "s" :from "a@example.org" :addresses ["b@example.org"] :mime :handle "h" "r";',
  ],
  ["vacation-seconds", 'vacation :seconds 60 "r";'],
  ["body", 'if body :content "text" :contains "x" { keep; }'],
  ["date,relational", 'if date :zone "+0100" :value "ge" "date" "hour" "09" { keep; }'],
  ["date", 'if currentdate :is "year" ["2005", "2006"] { keep; }'],
  ["editheader", 'addheader :last "X-A" "b"; deleteheader :contains "X-A" ["b", "c"];'],
  ["reject", 'reject "no";'],
  ["imap4flags", 'setflag "x"; addflag ["x"]; removeflag "x"; keep :flags ["x"];'],
  ["regex", 'if header :regex "a" "^b.*c$" { keep; }'],
  ["enotify", 'notify :importance "1" :options ["a=b"] :message "m" "mailto:a@example.org";'],
  ["environment", 'if environment :contains "host" ["x"] { keep; }'],
  ["spamtest,virustest", 'if anyof (spamtest :is "3", virustest "3") { keep; }'],
  ["duplicate", 'if duplicate :handle "h" :header "x" :seconds 60 { keep; }'],
  ["mailbox,mboxmetadata", 'if allof (mailboxexists ["a"], metadata :is "INBOX" "/private/x" "y") { keep; }'],
  ["special-use", 'if specialuse_exists "INBOX" ["\\\\Junk"] { keep; }'],
  ["foreverypart,mime,extracttext,variables", 'foreverypart { extracttext :first 10 :upper "v"; break; }'],
  ["mime", 'if header :mime :param ["x", "y"] :is "content-type" "z" { keep; }'],
];
const changes = [
  '"x"',
  '["x", "y"]',
  "5",
  ":frop",
  ":is",
  ":contains",
  "true",
  "keep",
  "",
  "(",
  ")",
  "[",
  "]",
  "{",
  ";",
  ",",
];
const word = /"(?:[^"\\]|\\.)*"|:[a-z]+|\d+K?|[A-Za-z_]+|[^\s]/g;

/** What sievec lets pass against the RFCs (docs/reference/sieve.md names it). */
const lax =
  /^encountered duplicate :(?:last|anychild) |^the specialuse_exists test requires one or two |^the deleteheader command expects a string as argument 1 /;

function withMistakes(statement: string, pick: Pick): string {
  const words: string[] = statement.match(word) ?? [];
  for (let left = pick([1, 2]); left > 0; left--) {
    const [at, other] = [pick([...words.keys()]), pick([...words.keys()])];
    const change = pick(changes);
    pick([
      () => words.splice(at, 1),
      () => words.splice(at, 0, change),
      () => words.splice(at, 1, change),
      () => ([words[at], words[other]] = [words[other]!, words[at]!]),
    ])();
  }
  return words.join(" ");
}

test("mistakes are counted as Debian's sievec counts them", { timeout: 600_000 }, (t) => {
  const sievec = pigeonhole(t, "sievec");
  if (sievec === undefined) return;
  const optional =
    "+editheader +spamtest +virustest +vacation-seconds +mboxmetadata +special-use +mime +foreverypart +extracttext";
  const pick = seeded(20_261_120);
  const different: Array<{ text: string; ours: string[]; theirs: string[] }> = [];
  for (let i = 0; i < scripts; i++) {
    const [requires, statement] = statements[i % statements.length]!;
    const names = requires.split(",").map((name) => `"${name}"`);
    const text = `${requires === "" ? "" : `require [${names.join(", ")}];\n`}${withMistakes(statement, pick)}\nkeep;\n`;
    const path = join(sievec.folder, "s.sieve");
    writeFileSync(path, text);
    const run = sievec.run("-x", optional, path, join(sievec.folder, "s.svbin"));
    const theirs = run.stderr
      .split("\n")
      .filter((line) => /: error: /.test(line) && !/(?:parse|validation|code generation) failed/.test(line));
    // A script that it refuses without a reason is its own mistake, not one of the script's.
    if (run.status !== 0 && theirs.length === 0) continue;
    const { diagnostics } = compileSieve(text, { file: "s", settings: suiteSettings });
    const ours = diagnostics.filter(({ severity }) => severity === "error").map(({ message }) => message);
    const counted = ours.filter((message) => !lax.test(message));
    if (counted.length !== theirs.length) different.push({ text, ours, theirs });
  }
  deepEqual(different, []);
});
