/**
 * `postern explain --id ID` shows a recorded decision; `postern explain FILE --session S.json` plays a session against a policy and shows why each reply is what it is
 * (DESIGN §6): the rules tried with the values their tests saw, what was set, the replies, the route, the reports.
 * Exit codes: 0 played, 1 the script has errors, 2 wrong usage or unreadable input.
 */
import { explanationJson, explanationText } from "../workbench/play/explanation.ts";
import { play } from "../workbench/play/play.ts";
import {
  findRecord,
  laterRecords,
  laterText,
  playRecord,
  policyOf,
  recordedJson,
  recordedText,
} from "../workbench/play/recorded.ts";
import { readSession } from "../workbench/play/session.ts";
import { RuleTrace } from "../workbench/play/trace.ts";
import { fileArgument, guarded, jsonOf, readArguments, reasonOf, recordsArgument, UsageError } from "./arguments.ts";
import type { Command, CommandIo } from "./command.ts";
import { loadPolicy } from "./load.ts";

const help = `Usage: postern explain FILE --session S.json [--message M.eml] [--json]
       postern explain --id ID [FILE] [--records DIR | --config FILE] [--json]

Plays a session against a policy and shows each event: the rules tried with the
values their tests saw, what was set, the reply, the route, the reports.

  --session S.json  what the client does and what checks answer, for example
                    {"connect": {"remoteIp": "198.51.100.7"}, "ehlo": "client.example",
                     "mailFrom": "a@client.example", "rcptTo": ["b@example.org"],
                     "localDomains": ["example.org"],
                     "facts": {"checkSPF": {"SPFResult": "fail"}}}
  --message M.eml   the message; a short one is made up without it
  --id ID           instead: a recorded decision, with its facts, their times, and
                    the changes of one fact that would have flipped it; under the
                    policy of that time, or FILE
  --records DIR     where the records are; default: those of the gateway of --config
  --json            print one JSON document

Exit code: 0 played, 1 the script has errors or there is no such record, 2 wrong usage.`;

export const command: Command = {
  name: "explain",
  summary: "play a session against a policy and show why it ends as it does",
  help,
  run: guarded("explain", async (argv, io) => {
    const options = {
      session: { type: "string" },
      message: { type: "string" },
      id: { type: "string" },
      records: { type: "string" },
      config: { type: "string" },
      json: { type: "boolean" },
    } as const;
    const args = readArguments(argv, options);
    const [file] = args.positionals;
    const { session: sessionFile, message: messageFile, json = false } = args.values;
    if (args.positionals.length > 1) throw new UsageError("give one script");
    if (args.values.id !== undefined) return recorded({ ...args.values, id: args.values.id, file, json }, io);
    if (file === undefined) throw new UsageError("give one script");
    if (sessionFile === undefined) throw new UsageError("give a session with --session");
    const session = fileArgument(sessionFile, io, (bytes) => readSession(jsonOf(bytes)));
    const message = messageFile === undefined ? undefined : fileArgument(messageFile, io, (bytes) => bytes);
    const loaded = loadPolicy(file, io, json);
    if (!loaded) return 1;
    const played = await play(loaded.policy, session, message, new RuleTrace(loaded.source), loaded.folder);
    const { module } = loaded.policy;
    io.out(
      json
        ? `${JSON.stringify(explanationJson(played, module, loaded.source), null, 2)}\n`
        : explanationText(played, module, loaded.source),
    );
    return 0;
  }),
};

interface RecordedQuestion {
  id: string;
  file: string | undefined;
  records?: string | undefined;
  config?: string | undefined;
  json: boolean;
}

async function recorded({ id, file, records, config, json }: RecordedQuestion, io: CommandIo): Promise<number> {
  const dir = recordsArgument(
    { ...(records === undefined ? {} : { records }), ...(config === undefined ? {} : { config }) },
    io,
  );
  try {
    const record = await findRecord(dir, id);
    const later = record.later ? [] : await laterRecords(dir, id);
    if (record.later?.context === "sieve") {
      io.out(json ? `${JSON.stringify(record, null, 2)}\n` : `${laterText(record).trimStart()}\n`);
      return 0;
    }
    const policy = file === undefined ? policyOf(dir, record) : loadPolicy(file, io, json);
    if (!policy) return 1;
    const played = await playRecord(record, policy);
    if (json) io.out(`${JSON.stringify({ ...recordedJson(played, policy), later }, null, 2)}\n`);
    else
      io.out(
        `${recordedText(played, policy)}${later.length > 0 ? `\nlater\n${later.map(laterText).join("\n")}\n` : ""}`,
      );
    return 0;
  } catch (error) {
    io.err(`postern explain: ${reasonOf(error)}\n`);
    return 1;
  }
}
