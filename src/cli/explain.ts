/**
 * `postern explain FILE --session S.json`: plays a session against a policy and shows why each reply is what it is
 * (DESIGN §6): the rules tried with the values their tests saw, what was set, the replies, the route, the reports.
 * Exit codes: 0 played, 1 the script has errors, 2 wrong usage or unreadable input.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import type { Command, CommandIo } from "./command.ts";
import { explanationJson, explanationText } from "./play/explanation.ts";
import { loadPolicy, reasonOf } from "./play/load.ts";
import { play } from "./play/play.ts";
import { readSession } from "./play/session.ts";
import { RuleTrace } from "./play/trace.ts";

const help = `Usage: postern explain FILE --session S.json [--message M.eml] [--json]

Plays a session against a policy and shows each event: the rules tried with the
values their tests saw, what was set, the reply, the route, the reports.

  --session S.json  what the client does and what checks answer, for example
                    {"connect": {"remoteIp": "198.51.100.7"}, "ehlo": "client.example",
                     "mailFrom": "a@client.example", "rcptTo": ["b@example.org"],
                     "localDomains": ["example.org"],
                     "facts": {"checkSPF": {"SPFResult": "fail"}}}
  --message M.eml   the message; a short one is made up without it
  --json            print one JSON document

Exit code: 0 played, 1 the script has errors, 2 wrong usage.`;

export const command: Command = {
  name: "explain",
  summary: "play a session against a policy and show why it ends as it does",
  help,
  async run(argv, io) {
    const options = {
      session: { type: "string" },
      message: { type: "string" },
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
    if (file === undefined || args.positionals.length > 1) return usage(io, "give one script");
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

function usage(io: CommandIo, message: string): number {
  io.err(`postern explain: ${message}\n`);
  return 2;
}
