/** `postern reload`: asks the running gateway to compile configuration and policy anew and to swap them. */
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { loadConfig } from "../config/load.ts";
import { askControl } from "../gateway/control.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  name: "reload",
  summary: "swap in the edited configuration and policy of a running gateway",
  help: `Usage: postern reload [--config FILE]

Compiles first, then swaps; sessions in progress end under the policy they began with. A broken configuration or
policy is refused with its diagnostics, and the old one stays in force (exit code 1).`,
  async run(argv, io) {
    const { values } = parseArgs({ args: argv, options: { config: { type: "string" } } });
    const loaded = loadConfig(resolve(io.cwd, values.config ?? "postern.yaml"));
    // A broken file may still name the data folder; the default is where `npm start` puts it.
    const data = loaded.ok ? loaded.loaded.config.data : resolve(io.cwd, "var");
    const answer = await askControl(join(data, "control.sock"), "reload");
    (answer.ok ? io.out : io.err)(answer.text);
    return answer.ok ? 0 : 1;
  },
};
