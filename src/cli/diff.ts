/**
 * `postern diff OLD NEW`: what changes in meaning between two policies: classes of sessions that end differently, each
 * with an example. Exit codes: 0 no difference was found, 1 there are some or a script has errors, 2 wrong usage.
 */
import { budgetDefaults } from "../config/budget.ts";
import { printable } from "../message/outcome.ts";
import { type Difference, differenceOf } from "../workbench/prove/difference.ts";
import { fileOf } from "../workbench/prove/search.ts";
import { budgetOf, guarded, readArguments, UsageError } from "./arguments.ts";
import type { Command } from "./command.ts";
import { loadPolicy } from "./load.ts";

const help = `Usage: postern diff OLD NEW [--cases N] [--json]

Shows what changes in meaning from one policy to another: replies, announcements,
header fields, routes and reports that differ, grouped, each with the simplest
session that shows it. Order, names and comments don't count.

  --cases N  sessions to play (${budgetDefaults.proveCases})
  --json     print one JSON document

Exit code: 0 no difference found, 1 there are some, 2 wrong usage.`;

export const command: Command = {
  name: "diff",
  summary: "show which sessions end differently under another policy",
  help,
  run: guarded("diff", async (argv, io) => {
    const options = { cases: { type: "string" }, json: { type: "boolean" } } as const;
    const args = readArguments(argv, options);
    const [oldFile, newFile] = args.positionals;
    const { cases, json = false } = args.values;
    if (oldFile === undefined || newFile === undefined || args.positionals.length > 2) {
      throw new UsageError("give two scripts");
    }
    const budget = budgetOf(cases);
    const before = loadPolicy(oldFile, io, json);
    const after = before && loadPolicy(newFile, io, json);
    if (!before || !after) return 1;
    const difference = await differenceOf({ ...before, budget }, { ...after, budget }, budget);
    io.out(json ? jsonOf(difference) : textOf(difference));
    return difference.changes.length > 0 ? 1 : 0;
  }),
};

function jsonOf({ changes, cases, gap }: Difference): string {
  const shown = changes.map(({ session, ...change }) => ({ ...change, session: fileOf(session) }));
  const document = { changes: shown, cases, complete: gap === "", ...(gap === "" ? {} : { reason: gap }) };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function textOf({ changes, cases, gap }: Difference): string {
  const lines: string[] = [];
  for (const { what, before, after, because, session } of changes) {
    lines.push(what, `  - ${printable(before)}`, `  + ${printable(after)}`);
    for (const words of because) lines.push(`    when ${words}`);
    lines.push(`    session ${JSON.stringify(fileOf(session))}`, "");
  }
  const found = changes.length === 0 ? "no difference" : `${changes.length} difference${changes.length > 1 ? "s" : ""}`;
  const proof = gap === "" ? `in all ${cases} cases` : `in ${cases} cases; there may be more: ${gap}`;
  lines.push(`${found} ${proof}`);
  return `${lines.join("\n")}\n`;
}
