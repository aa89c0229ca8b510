/**
 * `postern dap`: the debugger of policy scripts, over standard input and output (docs/editors.md). It plays a session
 * file as `postern explain` does and lets an editor walk through it in both directions.
 * Exit codes: 0 the editor has gone, 2 wrong usage.
 */
import { readFileSync } from "node:fs";
import { debug, type Launch } from "../workbench/dap/adapter.ts";
import type { Recording } from "../workbench/dap/timeline.ts";
import { readSession } from "../workbench/play/session.ts";
import { recordSteps } from "../workbench/play/steps.ts";
import type { Command, CommandIo } from "./command.ts";
import { loadPolicy } from "./load.ts";

const help = `Usage: postern dap

Debugger of .script files over standard input and output (Debug Adapter Protocol):
steps through a session file of \`postern explain\`, forward and backward, with
breakpoints and variables. An editor starts it; docs/editors.md says how.

launch arguments: program (the script), session (the session file), message (a
message file, optional), stopOnEntry (true unless given).`;

export const command: Command = {
  name: "dap",
  summary: "debugger for editors",
  help,
  async run(argv, io) {
    if (argv.length > 0) {
      io.err("postern dap: takes no arguments\n");
      return 2;
    }
    await debug(process.stdin, io.out, (launch) => record(launch, io.cwd));
    // The editor may keep the pipe open after it disconnected.
    process.stdin.destroy();
    return 0;
  },
};

async function record({ program, session, message }: Launch, cwd: string): Promise<Recording> {
  const said: string[] = [];
  const io: CommandIo = { out: (text) => void said.push(text), err: (text) => void said.push(text), cwd };
  const loaded = loadPolicy(program, io, false);
  if (!loaded) throw new Error(said.join("").trim());
  const played = readSession(JSON.parse(readFileSync(session, "utf8")));
  return recordSteps(loaded, played, message === undefined ? undefined : readFileSync(message));
}
