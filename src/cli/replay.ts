/**
 * `postern replay --policy NEW`: decides recorded traffic, or a folder or mbox of messages, again under another policy,
 * and shows which decisions change, by which rule, with examples.
 * Exit codes: 0 replayed, 1 a script has errors or there is nothing to replay, 2 wrong usage.
 */
import { resolve } from "node:path";
import { z } from "zod";
import { budgetDefaults } from "../config/budget.ts";
import { parseDuration } from "../config/schema.ts";
import type { LoadedPolicy } from "../workbench/play/loaded.ts";
import { readRecords } from "../workbench/record/read.ts";
import { type DecideOptions, decide } from "../workbench/replay/decide.ts";
import { openLists } from "../workbench/replay/lists.ts";
import { type Mail, mailsOfFolder, mailsOfMbox } from "../workbench/replay/mail.ts";
import { type Flip, ReplayReport } from "../workbench/replay/report.ts";
import { fileArgument, guarded, jsonOf, readArguments, reasonOf, recordsArgument, UsageError } from "./arguments.ts";
import type { Command } from "./command.ts";
import { loadPolicy } from "./load.ts";

const options = {
  policy: { type: "string" },
  against: { type: "string" },
  since: { type: "string" },
  records: { type: "string" },
  folder: { type: "string" },
  mbox: { type: "string" },
  config: { type: "string" },
  examples: { type: "string" },
  assume: { type: "string" },
  json: { type: "boolean" },
} as const;

export const command: Command = {
  name: "replay",
  summary: "decide recorded traffic again under another policy",
  help: `Usage: postern replay --policy NEW [--against OLD] [--since 7d]
                      [--records DIR | --folder DIR | --mbox FILE]
                      [--assume FACTS.json] [--config FILE] [--examples N] [--json]

Decides recorded transactions again under the script NEW, and lists the decisions
that change, grouped by the rule that makes the difference.

  --against OLD   compare with this script instead of what was decided then
  --since 7d      only records of that last time
  --records DIR   the records; default: those of the gateway of --config
  --folder DIR    instead: every file below DIR is a message; compares with OLD
  --mbox FILE     the same for the messages of an mbox; envelope and client are
                  read off the header section, checks count as failed
  --assume FILE   answers to checks that no record knows, such as
                  {"checkSPF": {"SPFResult": "pass"}}
  --examples N    examples for each group (default 3)
  --json          print one JSON document

Exit code: 0 replayed, 1 a script has errors or nothing was found, 2 wrong usage.`,
  run: guarded("replay", async (argv, io) => {
    const { values, positionals } = readArguments(argv, options);
    if (positionals.length > 0) throw new UsageError("name the new script with --policy");
    const { policy: file, against, since, folder, mbox, json = false } = values;
    const examples = Number(values.examples ?? "3");
    const sinceMs = since === undefined ? undefined : parseDuration(since);
    if (file === undefined) throw new UsageError("name the new script with --policy");
    if (!Number.isInteger(examples) || examples < 0 || examples > 1_000)
      throw new UsageError("--examples is 0 to 1000");
    if (since !== undefined && sinceMs === undefined) throw new UsageError('write --since as "30m", "12h" or "7d"');
    if ([values.records, folder, mbox].filter((given) => given !== undefined).length > 1) {
      throw new UsageError("give one of --records, --folder and --mbox");
    }
    const mails = folder ?? mbox;
    if (mails !== undefined && against === undefined) {
      throw new UsageError("messages carry no decision: name the script to compare with by --against");
    }
    const policy = loadPolicy(file, io, json);
    const old = against === undefined ? undefined : loadPolicy(against, io, json);
    if (!policy || (against !== undefined && !old)) return 1;
    const assumed =
      values.assume === undefined
        ? undefined
        : fileArgument(values.assume, io, (bytes) => answers.parse(jsonOf(bytes)));
    const replay = new Replay(policy, old, examples, assumed);
    try {
      if (mails !== undefined) {
        const path = resolve(io.cwd, mails);
        const count = { skipped: 0 };
        const source = folder === undefined ? mailsOfMbox : mailsOfFolder;
        for await (const mail of source(path, budgetDefaults, count)) await replay.mail(mail);
        replay.damaged = count.skipped;
      } else {
        const dir = recordsArgument(values, io);
        const count = { damaged: 0 };
        const from = sinceMs === undefined ? {} : { since: Date.now() - sinceMs };
        for await (const batch of readRecords(dir, { ...from, count })) await replay.records(batch);
        replay.damaged = count.damaged;
      }
    } catch (error) {
      io.err(`postern replay: ${reasonOf(error)}\n`);
      return 1;
    }
    io.out(json ? `${JSON.stringify(replay.json(), null, 2)}\n` : replay.text());
    return replay.report.decisions > 0 ? 0 : 1;
  }),
};

/** By method: output variables and their values. */
const answers = z.record(z.string(), z.record(z.string(), z.string()));
type Assumed = z.output<typeof answers>;

class Replay {
  readonly report: ReplayReport;
  damaged = 0;
  /** Records of Sieve scripts. */
  #sieve = 0;
  readonly #policy: LoadedPolicy;
  readonly #old: LoadedPolicy | undefined;
  readonly #lists: NonNullable<DecideOptions["inList"]>;
  readonly #oldLists: DecideOptions["inList"];
  readonly #assume: Pick<DecideOptions, "assume">;
  readonly #started = performance.now();

  constructor(policy: LoadedPolicy, old: LoadedPolicy | undefined, examples: number, assume: Assumed | undefined) {
    this.report = new ReplayReport(examples);
    this.#policy = policy;
    this.#old = old;
    this.#assume = assume ? { assume } : {};
    this.#lists = openLists(policy.policy.lists, policy.folder, budgetDefaults);
    this.#oldLists = old && openLists(old.policy.lists, old.folder, budgetDefaults);
  }

  async records(batch: ReadonlyArray<Mail["record"]>): Promise<void> {
    for (const record of batch) {
      if (record.later?.context === "sieve") this.#sieve++;
      else await this.#one(record, {});
    }
  }

  async mail({ record, strings }: Mail): Promise<void> {
    await this.#one(record, { strings });
  }

  async #one(record: Mail["record"], more: Pick<DecideOptions, "strings">): Promise<void> {
    const decided = decide(this.#policy.policy, record, { inList: this.#lists, ...this.#assume, ...more });
    const after = decided instanceof Promise ? await decided : decided;
    let before = record.decision;
    if (this.#old) {
      const inList = this.#oldLists;
      const again = decide(this.#old.policy, record, { ...(inList ? { inList } : {}), ...this.#assume, ...more });
      before = (again instanceof Promise ? await again : again).decision;
    }
    this.report.add(record, before, after);
  }

  /** Records read and decided a second so far, each once a policy. */
  get #perSecond(): number {
    const seconds = (performance.now() - this.#started) / 1_000;
    return Math.round((this.report.decisions * (this.#old ? 2 : 1)) / seconds);
  }

  json(): unknown {
    const { decisions, flips, reworded, cut, ungrouped, missing, groups } = this.report;
    return {
      policy: this.#policy.policy.hash,
      ...{ decisions, flips, reworded, cut, ungrouped, damaged: this.damaged, perSecond: this.#perSecond },
      missing: Object.fromEntries(missing),
      groups,
    };
  }

  text(): string {
    const { decisions, flips, reworded, cut, ungrouped, missing, groups } = this.report;
    const out = [`${decisions} decisions replayed (${this.#perSecond} a second), ${flips} change`];
    for (const { change, by, count, examples } of groups) {
      out.push("", `${count} × ${change}   by ${by}`, ...examples.map(exampleText));
    }
    if (ungrouped > 0) out.push("", `${ungrouped} more in groups of their own`);
    if (reworded > 0) out.push("", `${reworded} decided the same in other words`);
    for (const [what, count] of missing) {
      out.push("", `note: ${what} is not in the records of ${count} decisions: it counted as failed`);
    }
    if (this.#sieve > 0) out.push("", `note: ${this.#sieve} decisions of Sieve scripts left out: bodies are not kept`);
    if (cut > 0) out.push("", `note: ${cut} records were cut by a limit`);
    if (this.damaged > 0) out.push("", `note: ${this.damaged} damaged or too large, left out`);
    return `${out.join("\n")}\n`;
  }
}

function exampleText({ id, time, remoteIp, mailFrom, rcptTo, after }: Flip): string {
  const when = time > 0 ? new Date(time).toISOString() : "";
  const reply = after.code >= 400 ? `: ${after.code} ${after.text}` : "";
  return `    ${id} ${when} ${remoteIp} <${mailFrom}> → <${rcptTo.slice(0, 3).join(">, <")}>${reply}`;
}
