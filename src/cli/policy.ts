/** `postern policy status|promote|abort`: the candidate policy on trial in a running gateway. */
import { join } from "node:path";
import { askControl } from "../gateway/control.ts";
import { guarded, readArguments, UsageError } from "./arguments.ts";
import type { Command } from "./command.ts";
import { findDataFolder } from "./data-folder.ts";

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
  run: guarded("policy", async (argv, io) => {
    const args = readArguments(argv, { config: { type: "string" } });
    const [action = "", ...more] = args.positionals;
    if (!actions.includes(action) || more.length > 0) {
      throw new UsageError("give one of status, promote and abort");
    }
    const answer = await askControl(join(findDataFolder(args.values, io).dir, "control.sock"), `policy ${action}`);
    (answer.ok ? io.out : io.err)(answer.text);
    return answer.ok ? 0 : 1;
  }),
};
