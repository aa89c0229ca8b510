/**
 * Our Sieve against Debian's: random scripts of the common subset on random messages, the same actions from both.
 * Each script holds many rules that file into a folder of their own, so one run compares many tests. Seeded;
 * POSTERN_SIEVE_SCRIPTS and POSTERN_SIEVE_MESSAGES set the number of scripts (12) and messages (8).
 */
import { deepEqual } from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { budgetWith } from "../../src/config/budget.ts";
import { compileSieve } from "../../src/sieve/compile.ts";
import type { Action } from "../../src/sieve/result.ts";
import { runSieve } from "../../src/sieve/run.ts";
import { defaultSettings } from "../../src/sieve/settings.ts";
import { type Pick, pigeonhole, seeded } from "./pigeonhole.ts";

const scripts = Number(process.env.POSTERN_SIEVE_SCRIPTS ?? 12);
const messages = Number(process.env.POSTERN_SIEVE_MESSAGES ?? 8);
const rulesPerScript = 24;

const capabilities =
  'require ["fileinto","envelope","relational","comparator-i;ascii-numeric","subaddress","variables","body","date","index","mime","foreverypart","regex","imap4flags","encoded-character"];\n';
// No backslash: Pigeonhole 0.5.19 aborts on a :matches key that ends in one.
const words = [
  "",
  "a",
  "Hello",
  "world",
  "10",
  "9",
  "user",
  "example",
  "org",
  "[list]",
  "*",
  "?",
  '\\"',
  "über",
  "x@y.example",
];
const headers = ["subject", "From", "to", "cc", "x-spam", "X-Multi", "received", "date", "content-type", "x-absent"];
const addressHeaders = ["from", "to", "cc", "sender", "reply-to"];
// Pigeonhole 0.5 changes the case of ASCII only in `set`. It orders i;ascii-casemap by lower case, RFC 4790 §9.2 by upper; its string test defaults to i;octet,
// RFC 5228 §2.7.3 knows one default. So :value and string name a comparator on which both agree.
const exact = ':comparator "i;octet" ';
const usual = ["", ':comparator "i;octet" ', ':comparator "i;ascii-casemap" '];

function key(pick: Pick): string {
  return `"${pick(words)}${pick(["", "", pick(words)])}"`;
}

function keys(pick: Pick): string {
  return pick([() => key(pick), () => key(pick), () => `[${key(pick)}, ${key(pick)}, ${key(pick)}]`])();
}

function match(pick: Pick, comparators: readonly string[] = usual): string {
  const relation = pick(["gt", "ge", "lt", "le", "eq", "ne"]);
  return pick([
    () => pick(comparators),
    () => `:is ${pick(comparators)}`,
    () => `:contains ${pick(comparators)}`,
    () => `:matches ${pick(comparators)}`,
    () => `:matches ${pick(comparators)}`,
    () => `:value "${relation}" ${pick([exact, ':comparator "i;ascii-numeric" '])}`,
    () => `:count "${relation}" :comparator "i;ascii-numeric" `,
  ])();
}

function names(pick: Pick, from: readonly string[]): string {
  return pick([`"${pick(from)}"`, `["${pick(from)}", "${pick(from)}"]`]);
}

function aTest(pick: Pick, depth: number): string {
  const part = pick(["", ":all ", ":localpart ", ":domain ", ":user ", ":detail "]);
  const index = pick(["", "", ":index 1 ", ":index 2 ", ":index 1 :last "]);
  const leaves: Array<() => string> = [
    () => `header ${index}${match(pick)}${names(pick, headers)} ${keys(pick)}`,
    () => `header ${match(pick)}${names(pick, headers)} ${keys(pick)}`,
    () => `address ${part}${match(pick)}${names(pick, addressHeaders)} ${keys(pick)}`,
    () => `envelope ${part}${match(pick)}"${pick(["from", "to"])}" ${keys(pick)}`,
    () => `exists ${names(pick, headers)}`,
    () => `size ${pick([":over", ":under"])} ${pick(["10", "200", "300", "1K", "2M"])}`,
    () => `string ${match(pick, [exact])}"\${v}${pick(words)}" ${keys(pick)}`,
    () => `string ${match(pick, [exact])}"\${1}-\${2}" ${keys(pick)}`,
    () =>
      `body ${pick([":raw ", ':content "text" ', ':content "" '])}${pick([":contains ", ":matches "])}${keys(pick)}`,
    () =>
      `date ${pick([':zone "+0100" ', ":originalzone ", ':zone "-0530" '])}:is "${pick(["date", "received"])}" "${pick(["year", "month", "day", "hour", "minute", "weekday", "zone", "date", "julian", "time"])}" ["2024", "01", "09", "10", "1", "+0100", "-0500", "2024-01-09", "60318", "23:05:06"]`,
    () =>
      `header :mime ${pick(["", ":anychild "])}${pick([":type ", ":subtype ", ":contenttype ", ':param "charset" '])}${pick([":is ", ":contains "])}"content-type" ["text", "plain", "text/html", "multipart", "utf-8", "mixed", "", "us"]`,
    () => `header :regex "subject" "${pick(["^hel+o", "w.r(l|k)d$", "[0-9]+", "^$", "(a|b)c?", "^\\\\[li"])}"`,
    () => `hasflag ${pick([":is ", ":contains ", ":matches "])}${pick(['"\\\\Seen"', '"foo"', '"*o*"'])}`,
  ];
  if (depth > 0 && pick([true, false, false])) {
    return pick([
      () => `not ${aTest(pick, depth - 1)}`,
      () => `anyof (${aTest(pick, depth - 1)}, ${aTest(pick, depth - 1)})`,
      () => `allof (${aTest(pick, depth - 1)}, ${aTest(pick, depth - 1)})`,
    ])();
  }
  return pick(leaves)();
}

function aScript(pick: Pick): string {
  let text = capabilities;
  for (let i = 0; i < rulesPerScript; i++) {
    const before = pick([
      "",
      "",
      `set ${pick(["", ":lower ", ":upperfirst ", ":length ", ":quotewildcard "])}"v" ${key(pick).replaceAll("ü", "u")};\n`,
      `${pick(["setflag", "addflag", "removeflag"])} ["\\\\Seen", "foo"];\n`,
    ]);
    const chain = pick(["", "", ` elsif ${aTest(pick, 0)} { fileinto "e${i}"; }`]);
    text += `${before}if ${aTest(pick, 2)} { fileinto "t${i}"; }${chain}\n`;
  }
  return text + pick(["", "", "keep;\n", 'redirect "r@z.example";\n', "discard;\n"]);
}

function aMessage(pick: Pick): string {
  const people = [
    "user@example.org",
    "User Name <user+detail@example.org>",
    '"A, b" <a@B.Example>',
    "a@x.example, b@y.example",
    "list:a@x.example,b@y.example;",
    "<x@y.example>",
    "broken",
    "",
  ];
  const texts = [
    "Hello world",
    "hello",
    "[list] Hello",
    "",
    "10 apples",
    "9",
    "=?utf-8?q?=C3=BCber?= a",
    "a  b",
    "*?\\",
    "a\n\tfolded  line",
    "world ",
  ];
  const lines = [
    `From: ${pick(people)}`,
    `To: ${pick(people)}`,
    `Subject: ${pick(texts)}`,
    pick(["", `Cc: ${pick(people)}`]),
    pick(["", `X-Spam: ${pick(texts)}`]),
    ...[1, 2, 3].map(() => pick(["", `X-Multi: ${pick(texts)}`])),
    pick(["", `Sender: ${pick(people)}`]),
    pick(["Date: Tue, 9 Jan 2024 10:11:12 +0100", "Date: 9 Jan 24 23:05:06 -0500", "Date: nonsense", ""]),
    pick(["", "Received: from a by b; Tue, 9 Jan 2024 23:05:06 -0500"]),
  ];
  const body = pick([
    "\nHello body\n",
    "\n",
    "Content-Type: text/html; charset=UTF-8\n\n<p>Hello <b>world</b></p>\n",
    'Content-Type: multipart/mixed; boundary="b"\n\nbefore\n--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nSGVsbG8gd29ybGQ=\n--b\nContent-Type: text/html\n\n<i>10</i>\n--b--\nafter\n',
  ]);
  return `${lines.filter((line) => line !== "").join("\n")}\n${body}`.replaceAll("\n", "\r\n");
}

/** "fileinto t1", "keep", "discard", "redirect x": what sieve-test says it would do. */
function theirs(output: string): string[] {
  const [performed = "", implicit = ""] = output.split(/^Implicit keep:$/m);
  const found: string[] = [];
  for (const [, what] of performed.matchAll(/^ \* (.*)$/gm)) {
    const folder = /^store message in folder: (.*)$/.exec(what!)?.[1];
    const address = /^redirect message to: <(.*)>$/.exec(what!)?.[1];
    found.push(folder === "INBOX" ? "keep" : folder ? `fileinto ${folder}` : address ? `redirect ${address}` : what!);
  }
  if (implicit.includes("store message")) found.push("implicit keep");
  return found;
}

function ours(source: string, message: string): string[] {
  const settings = { ...defaultSettings, maxActions: 64 };
  const compiled = compileSieve(source, { file: "random.sieve", settings });
  if (!compiled.ok) return compiled.diagnostics.map((d) => `${d.span.start.line}: ${d.message}`);
  const envelope = { from: "sender+x@y.example", to: "user@example.org" };
  const result = runSieve(
    compiled.script,
    { message: Buffer.from(message), envelope },
    { settings, budget: budgetWith({ sieveActions: 64 }) },
  );
  const text = (action: Action) =>
    action.action === "fileinto"
      ? `fileinto ${action.folder}`
      : action.action === "redirect"
        ? `redirect ${action.address}`
        : action.action;
  return [
    ...result.errors.map((e) => e.message),
    ...result.actions.map(text),
    ...(result.implicitKeep ? ["implicit keep"] : []),
  ];
}

/** What only one of the two did, with the rule that asks for it. */
function different(ours: readonly string[], theirs: readonly string[], source: string): string[] {
  const rule = (action: string) =>
    source.split("\n").find((line) => line.includes(`"${action.replace("fileinto ", "")}"`)) ?? "";
  const only = (whose: string, actions: readonly string[], others: readonly string[]) =>
    actions.filter((action) => !others.includes(action)).map((action) => `only ${whose}: ${action}: ${rule(action)}`);
  const found = [...only("ours", ours, theirs), ...only("theirs", theirs, ours)];
  return found.length === 0 && ours.join() !== theirs.join() ? [`order: ${ours.join()} and ${theirs.join()}`] : found;
}

test("same actions as Debian's sieve-test", (t) => {
  const sieveTest = pigeonhole(t, "sieve-test");
  if (sieveTest === undefined) return;
  const { folder } = sieveTest;
  const pick = seeded(4711);
  const differences: string[] = [];
  const mails = Array.from({ length: messages }, () => aMessage(pick));
  for (const [i, text] of mails.entries()) writeFileSync(join(folder, `${i}.eml`), text);
  const file = join(folder, "random.sieve");
  for (let n = 0; n < scripts; n++) {
    const source = aScript(pick);
    writeFileSync(file, source);
    for (const [i, text] of mails.entries()) {
      const addresses = ["-f", "sender+x@y.example", "-r", "user@example.org", "-a", "user@example.org"];
      const run = sieveTest.run(...addresses, "-C", file, join(folder, `${i}.eml`));
      const expected = run.status === 0 ? theirs(run.stdout) : [`sieve-test: ${run.stderr}`];
      differences.push(
        ...different(ours(source, text), expected, source).map((line) => `script ${n}, message ${i}: ${line}`),
      );
    }
  }
  deepEqual(differences, []);
});
