/**
 * `postern dap`: the debugger of policy scripts, over standard input and output (docs/editors.md). It plays a session
 * file, a test, or a Sieve script on a message, and lets an editor walk through it in both directions.
 * Exit codes: 0 the editor has gone, 2 wrong usage.
 */
import { debug } from "../workbench/dap/adapter.ts";
import { recordingOf } from "../workbench/dap/launch.ts";
import { guarded, UsageError } from "./arguments.ts";
import type { Command } from "./command.ts";

const help = `Usage: postern dap

Debugger of .script and .sieve files over standard input and output (Debug Adapter
Protocol): steps forward and backward, with breakpoints and variables. An editor
starts it; docs/editors.md says how.

launch arguments: program and
  session   for a script: the session file of \`postern explain\` (and message)
  test      for a .test.yaml file: the name of the test
  message   for a Sieve script: a message file (and from, to: the envelope)
stopOnEntry is true unless given.`;

export const command: Command = {
  name: "dap",
  summary: "debugger for editors",
  help,
  run: guarded("dap", async (argv, io) => {
    if (argv.length > 0) throw new UsageError("takes no arguments");
    await debug(process.stdin, io.out, (launch) => recordingOf(launch, io.cwd));
    // The editor may keep the pipe open after it disconnected.
    process.stdin.destroy();
    return 0;
  }),
};
