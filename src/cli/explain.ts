/**
 * `postern explain --id ID` shows a recorded decision; `postern explain FILE --session S.json` plays a session against a policy and shows why each reply is what it is
 * (DESIGN §6): the rules tried with the values their tests saw, what was set, the replies, the route, the reports.
 * Exit codes: 0 played, 1 the script has errors, 2 wrong usage or unreadable input.
 */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { loadConfig } from "../config/load.ts";
import { recordFolder } from "../gateway/recording.ts";
import type { Command, CommandIo } from "./command.ts";
import { explanationJson, explanationText } from "./play/explanation.ts";
import { loadPolicy, reasonOf } from "./play/load.ts";
import { play } from "./play/play.ts";
import { findRecord, playRecord, policyOf, recordedJson, recordedText } from "./play/recorded.ts";
import { readSession } from "./play/session.ts";
import { RuleTrace } from "./play/trace.ts";

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
  async run(argv, io) {
    const options = {
      session: { type: "string" },
      message: { type: "string" },
      id: { type: "string" },
      records: { type: "string" },
      config: { type: "string" },
      json: { type: "boolean" },
    } as const;
    let args: ReturnType<typeof parseArgs<{ options: typeof options; allowPositionals: true }>>;
    try {
      args = parseArgs({ args: argv, options, allowPositionals: true });
    } catch (error) {
      return usage(io, reasonOf(error));
    }
    const [file] = args.positionals;
    const { session: sessionFile, message: messageFile, json = false } = args.values;
    if (args.positionals.length > 1) return usage(io, "give one script");
    if (args.values.id !== undefined) return recorded({ ...args.values, id: args.values.id, file, json }, io);
    if (file === undefined) return usage(io, "give one script");
    if (sessionFile === undefined) return usage(io, "give a session with --session");
    let session: ReturnType<typeof readSession>;
    let message: Buffer | undefined;
    try {
      session = readSession(JSON.parse(readFileSync(resolve(io.cwd, sessionFile), "utf8")));
    } catch (error) {
      return usage(io, `${sessionFile}: ${reasonOf(error)}`);
    }
    try {
      if (messageFile !== undefined) message = readFileSync(resolve(io.cwd, messageFile));
    } catch (error) {
      return usage(io, `${messageFile}: ${reasonOf(error)}`);
    }
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
  },
};

interface RecordedQuestion {
  id: string;
  file: string | undefined;
  records?: string | undefined;
  config?: string | undefined;
  json: boolean;
}

async function recorded({ id, file, records, config, json }: RecordedQuestion, io: CommandIo): Promise<number> {
  const loaded = records === undefined ? loadConfig(resolve(io.cwd, config ?? "postern.yaml")) : undefined;
  const dir = loaded?.ok ? recordFolder(loaded.loaded.config) : resolve(io.cwd, records ?? join("var", "records"));
  try {
    const record = await findRecord(dir, id);
    const policy = file === undefined ? policyOf(dir, record) : loadPolicy(file, io, json);
    if (!policy) return 1;
    const played = await playRecord(record, policy);
    io.out(json ? `${JSON.stringify(recordedJson(played, policy), null, 2)}\n` : recordedText(played, policy));
    return 0;
  } catch (error) {
    io.err(`postern explain: ${reasonOf(error)}\n`);
    return 1;
  }
}

function usage(io: CommandIo, message: string): number {
  io.err(`postern explain: ${message}\n`);
  return 2;
}
