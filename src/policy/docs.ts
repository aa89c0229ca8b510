/**
 * Reference pages made from the vocabulary and the table of diagnostics. `node src/policy/docs.ts --write` writes
 * docs/reference/smtpfilters.md and the smtpFilters part of docs/reference/diagnostics.md; a test holds them current.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { codes } from "./codes.ts";
import { eventContext, eventDocs, eventNames } from "./events.ts";
import { aliases, geoListRow, type Origin, type ValueType, type VariableRow, variables } from "./variables.ts";
import { actions, comparators, methods, otherTests } from "./vocabulary.ts";

const reference = resolve(import.meta.dirname, "../../docs/reference");
export const vocabularyFile = resolve(reference, "smtpfilters.md");
export const diagnosticsFile = resolve(reference, "diagnostics.md");

/** Between these lines of diagnostics.md stands what is made here. */
const begin = "<!-- smtpFilters: made by src/policy/docs.ts -->";
const end = "<!-- end of smtpFilters -->";

const originWords: Readonly<Record<Origin, string>> = { vendor: "", dname: "spelling ours", ours: "ours" };

function typeWords(type: ValueType): string {
  if (type.kind === "numeric") return `number ${type.min}–${type.max}${type.unit ? ` ${type.unit}` : ""}`;
  if (type.kind === "choice") return type.values.join(", ");
  if (type.kind === "words") return type.values ? `words: ${type.values.join(", ")}` : "words";
  return type.kind === "values" ? "several texts" : type.kind;
}

/** "onEhlo–onRcptTo rw, onBodyChunk ro": runs of events with the same access. */
function accessWords(row: VariableRow): string {
  const runs: Array<{ first: string; last: string; access: string; at: number }> = [];
  for (const [at, event] of eventNames.entries()) {
    const access = row.access[event];
    if (!access) continue;
    const run = runs.at(-1);
    const joins =
      run && run.access === access && run.at === at - 1 && eventContext[run.last as "onRelay"] === eventContext[event];
    if (joins) Object.assign(run, { last: event, at });
    else runs.push({ first: event, last: event, access, at });
  }
  return runs.map(({ first, last, access }) => `${first === last ? first : `${first}–${last}`} ${access}`).join(", ");
}

function table(head: readonly string[], rows: ReadonlyArray<readonly string[]>): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

const contexts = [
  ["smtpIn", "Incoming"],
  ["smtpOut", "Outgoing"],
  ["smtpProc", "Processing"],
] as const;

function variableTable(context: string): string {
  const known = [...variables, geoListRow].filter((row) =>
    eventNames.some((event) => row.access[event] && eventContext[event] === context),
  );
  const rows = known.map((row) => [
    `\`${row.name}\``,
    typeWords(row.type),
    accessWords(row),
    row.default === "" ? "" : `\`${row.default}\``,
    [row.doc, row.producer ? `Filled by \`${row.producer}\`.` : "", originWords[row.origin]].filter(Boolean).join(" "),
  ]);
  return table(["variable", "value", "where", "default", "meaning"], rows);
}

export function vocabularyPage(): string {
  const parts = [
    "# The smtpFilters language",
    "<!-- Made by `node src/policy/docs.ts --write`; edit src/policy/vocabulary.ts instead. -->",
    grammar,
    "## Events",
    table(
      ["event", "context", "when it runs"],
      eventNames.map((name) => [`\`${name}\``, eventContext[name], eventDocs[name]]),
    ),
    "## Variables",
    "`ro` can be read, `wo` set, `rw` both. Values are texts; what is not known yet reads as the empty text. " +
      "“Spelling ours”: the original has the function, but no public source shows how it names it. “Ours”: added here.",
    ...contexts.flatMap(([context, title]) => [`### ${title}`, variableTable(context)]),
    "### Other accepted spellings",
    table(
      ["spelling", "read as", "set as"],
      Object.entries(aliases).map(([alias, { read, write }]) => [`\`${alias}\``, `\`${read}\``, `\`${write}\``]),
    ),
    "## Predefined methods",
    "Called by `call (name);`. When a check fails, its results take the values of the last column and what `onError` says happens; unstated, the default in brackets.",
    table(
      ["method", "reads", "fills", "events", "on failure", "meaning"],
      methods.map((row) => [
        `\`${row.name}\``,
        row.reads.join(", "),
        row.writes.join(", "),
        row.events.join(", "),
        row.kind === "lookup"
          ? `${Object.entries(row.failure)
              .map(([name, value]) => `${name} “${value}”`)
              .join(", ")} [${row.onError}]`
          : "",
        [row.doc, originWords[row.origin]].filter(Boolean).join(" "),
      ]),
    ),
    "## Tests",
    'A test is `comparator (variable, "text")`. `anyOf (…)`, `allOf (…)` and `not (…)` combine tests, left to right, no further than needed.',
    table(
      ["test", "true when", ""],
      [
        ...comparators.map((row) => [`\`${row.name} (variable, "text")\``, row.doc, originWords[row.origin]]),
        ...otherTests.map((row) => [`\`${row.usage}\``, row.doc, "ours"]),
      ],
    ),
    "## Actions",
    "Statements of their own, all ours.",
    table(
      ["action", "events", "meaning"],
      actions.map((row) => [`\`${row.name} ("${row.argument}");\``, row.events.join(", "), row.doc]),
    ),
  ];
  return `${[...parts, trying].join("\n\n")}\n`;
}

const grammar = `A script is a list of blocks: \`event\` blocks, which run at their moment, and \`method\` blocks, which are called.

\`\`\`
event onMailFrom {
  call (Block_List);                                   # a method below, or a predefined check
}

method Block_List {
  if (anyOf (is (mailFromDomain, "bad.example"), ipRange (remoteSmtpIp, "192.0.2.0/24"))) {
    set (smtpAction, "reject");
    set (smtpExplanation, "No mail from %mailFromDomain%");
  }
}
\`\`\`

- \`set (variable, "text");\` sets a variable. \`%name%\` in a text is replaced by the value of that variable when the
  statement runs; \`%%\` is a percent sign. Replaced values are not looked at again.
- \`call (method);\` runs a method. \`call (check) onError tmpreject;\` says what happens when a check fails: \`accept\`,
  \`reject\`, \`tmpreject\` or \`ignore\`.
- \`if (test) { … } else if (test) { … } else { … }\`. \`else\` and \`not\` are ours.
- \`export (variable);\` keeps a variable for the rest of the message's life, in all contexts. A variable of your own
  otherwise ends with the event or method that set it first; a called method sees its caller's.
- \`rule "name" { … }\` names a group of statements in explanations, coverage and logs (ours).
- \`header ("Subject")\` is readable like a variable from onHeadersReceived on: a test is true when it holds for one of the
  fields of that name (ours).
- \`inList (mailFrom, "file:blocked.txt")\` looks into a list (ours); \`rate ("%remoteSmtpIp%", "100/1h")\` counts (ours).
- \`# comment\` runs to the end of the line. Names and keywords are compared without case; texts keep theirs.

What is set last counts. \`smtpAction\` does not end the event.`;

const trying = `## Trying a policy

\`postern explain FILE --session S.json\` plays one session and shows each rule with the values its tests saw. A session:

\`\`\`json
{ "connect": { "remoteIp": "198.51.100.7", "tls": false }, "ehlo": "client.example", "helo": false, "auth": null,
  "mailFrom": "a@client.example", "rcptTo": ["b@example.org"], "localDomains": ["example.org"],
  "facts": { "checkSPF": { "SPFResult": "fail" }, "checkDNSBL": { "zen.example": { "DNSBLResult": "127.0.0.2" } },
             "checkSenderMX": "error", "rate": { "over": "yes" } },
  "lists": { "file:blocked.txt": ["a@bad.example"] }, "message": "Subject: hello\\n\\ntext\\n",
  "failure": { "temporary": true, "attempts": 4, "recipients": [{ "address": "b@example.org", "info": "451 busy" }] },
  "success": [{ "address": "b@example.org", "status": "delivered" }] }
\`\`\`

Every part may be left out. A check without an answer counts as failed; a list of answers gives one for each call.
\`trusted\`, \`hostName\`, \`size\`, \`relay\` (variables preset in onRelay) and \`connect.certificate\` (\`subject\`,
\`issuer\`, \`fingerprint\`, \`verified\`: what the client showed under TLS) complete it.

\`postern test PATH\` runs files \`NAME.test.yaml\` beside \`NAME.script\`: \`tests:\`, each with \`name\`, \`session\` and
\`expect\`; \`defaults:\` holds what all sessions share, \`script:\` another script. Expectations, each optional:

- \`greeting\`, \`ehlo\`, \`mail\`, \`rcpt\` (one, or a list with one for each recipient), \`data\`: a reply code, alone or with
  words that the reply contains, as in \`550 Relay denied\`;
- \`announces\`, \`hides\`: lines of the EHLO reply;
- \`headers\`: field → text that its value contains; \`null\`: no such field;
- \`route\`: values of the first route (\`host\`, \`port\`, \`startTls\`…), or \`none\`;
- \`report\`: \`kind\`, \`sender\`, \`subject\`, \`attach\`, \`contains\`, or \`none\`;
- \`does\`: kinds of effects that happened, such as \`quarantine\`.

\`--coverage\` lists the rules that were never true, or never false; \`--min N\` fails below N percent of the branches.`;

/** The smtpFilters part of diagnostics.md. */
export function diagnosticsPart(): string {
  const sections = Object.entries(codes).map(
    ([code, { severity, title, about }]) => `### ${code} ${title}\n\n*${severity}* — ${about}`,
  );
  return [begin, "## smtpFilters scripts", ...sections, end].join("\n\n");
}

/** diagnostics.md with the part replaced; the parts of others stay. */
export function diagnosticsPage(current: string): string {
  const from = current.indexOf(begin);
  const to = current.indexOf(end);
  if (from < 0 || to < 0) return `${current.trimEnd()}\n\n${diagnosticsPart()}\n`.replace(/^\n+/, "");
  return current.slice(0, from) + diagnosticsPart() + current.slice(to + end.length);
}

if (process.argv[1] === import.meta.filename && process.argv.includes("--write")) {
  writeFileSync(vocabularyFile, vocabularyPage());
  writeFileSync(diagnosticsFile, diagnosticsPage(readFileSync(diagnosticsFile, "utf8")));
}
