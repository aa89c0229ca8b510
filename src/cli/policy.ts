/** `postern policy status|promote|abort`: the candidate policy on trial in a running gateway. */
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { loadConfig } from "../config/load.ts";
import { askControl } from "../gateway/control.ts";
import type { Command } from "./command.ts";
import { reasonOf } from "./play/load.ts";

const actions = ["status", "promote", "abort"];

export const command: Command = {
  name: "policy",
  summary: "statistics, promotion and end of a candidate policy's trial",
  help: `Usage: postern policy status|promote|abort [--config FILE]

A candidate (policy.candidate in postern.yaml) runs beside the live policy: on all
traffic without effect, or deciding for a share of the clients (enforce).

  status    what it did: transactions decided otherwise, by which rule, failures, times
  promote   its text replaces the live script's; the old one is kept as NAME.previous
  abort     ends the trial until the candidate's text changes

Exit code: 0 done, 1 refused or no gateway, 2 wrong usage.`,
  async run(argv, io) {
    let args: ReturnType<typeof parseArgs<{ options: { config: { type: "string" } }; allowPositionals: true }>>;
    try {
      args = parseArgs({ args: argv, options: { config: { type: "string" } }, allowPositionals: true });
    } catch (error) {
      io.err(`postern policy: ${reasonOf(error)}\n`);
      return 2;
    }
    const [action = "", ...more] = args.positionals;
    if (!actions.includes(action) || more.length > 0) {
      io.err("postern policy: give one of status, promote and abort\n");
      return 2;
    }
    const loaded = loadConfig(resolve(io.cwd, args.values.config ?? "postern.yaml"));
    const data = loaded.ok ? loaded.loaded.config.data : resolve(io.cwd, "var");
    const answer = await askControl(join(data, "control.sock"), `policy ${action}`);
    (answer.ok ? io.out : io.err)(answer.text);
    return answer.ok ? 0 : 1;
  },
};
