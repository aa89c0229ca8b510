/**
 * Mistakes in scripts, counted as Debian's sievec counts them: valid statements of each extension with one or two words
 * taken out, doubled, moved or changed. Test suites written for Pigeonhole rely on these numbers. Seeded;
 * POSTERN_SIEVE_MISTAKES sets how many scripts (100).
 */
import { deepEqual } from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { compileSieve } from "../../src/sieve/compile.ts";
import { suiteSettings } from "../../src/sieve/testsuite/settings.ts";
import { peer, scratch } from "./daemons.ts";

const scripts = Number(process.env.POSTERN_SIEVE_MISTAKES ?? 100);
const nobody = 65_534;

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
const lax = /^encountered duplicate :(?:last|anychild) |^the specialuse_exists test requires one or two /;

/** mulberry32 */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

function withMistakes(statement: string, pick: (below: number) => number): string {
  const words: string[] = statement.match(word) ?? [];
  for (let left = 1 + pick(2); left > 0; left--) {
    const at = pick(words.length);
    const change = changes[pick(changes.length)]!;
    const kind = pick(4);
    if (kind === 0) words.splice(at, 1);
    else if (kind === 1) words.splice(at, 0, change);
    else if (kind === 2) words[at] = change;
    else [words[at], words[pick(words.length)]] = [words[pick(words.length)]!, words[at]!];
  }
  return words.join(" ");
}

test("mistakes are counted as Debian's sievec counts them", { timeout: 600_000 }, (t) => {
  const sievec = peer(t, "sievec");
  if (sievec === undefined) return;
  const folder = scratch(t);
  const config = join(folder, "d.conf");
  writeFileSync(
    config,
    `log_path=${folder}/log\nssl=no\nmail_location=maildir:${folder}/md\nmail_uid=nobody\nmail_gid=nogroup\nfirst_valid_uid=0\n`,
  );
  mkdirSync(join(folder, "md"));
  for (const path of [folder, join(folder, "md")]) chownSync(path, nobody, nobody);
  chmodSync(folder, 0o755);
  const optional =
    "+editheader +spamtest +virustest +vacation-seconds +mboxmetadata +special-use +mime +foreverypart +extracttext";
  const pick = generator(20_261_120);
  const different: Array<{ text: string; ours: string[]; theirs: string[] }> = [];
  for (let i = 0; i < scripts; i++) {
    const [requires, statement] = statements[i % statements.length]!;
    const names = requires.split(",").map((name) => `"${name}"`);
    const text = `${requires === "" ? "" : `require [${names.join(", ")}];\n`}${withMistakes(statement, pick)}\nkeep;\n`;
    const path = join(folder, "s.sieve");
    writeFileSync(path, text);
    const args = ["-c", config, "-x", optional, path, join(folder, "s.svbin")];
    const run = spawnSync(sievec, args, { encoding: "utf8", uid: nobody, gid: nobody });
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
