/**
 * `postern serve`: runs the gateway until SIGTERM or SIGINT. On first run it writes a commented postern.yaml that uses
 * only loopback high ports. SIGHUP reloads. Failure: one clear line, exit code 1, nothing half-started.
 */
import { existsSync } from "node:fs";
import { relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { loadConfig } from "../config/load.ts";
import { writeFirstConfig } from "../gateway/first-run.ts";
import { StartError, startSupervisor } from "../gateway/supervisor.ts";
import { createLogger, moduleLogger } from "../telemetry/log.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  name: "serve",
  summary: "run the gateway",
  help: `Usage: postern serve [--config FILE]

Runs the gateway with FILE (default: postern.yaml in this folder; written with safe defaults when it is missing).
SIGHUP or \`postern reload\` compiles configuration and policy anew and swaps them; a broken one leaves the old in force.
SIGTERM or Ctrl-C stops accepting, lets transactions end, and exits 0.`,
  async run(argv, io) {
    const { values } = parseArgs({ args: argv, options: { config: { type: "string" } } });
    const configFile = resolve(io.cwd, values.config ?? "postern.yaml");
    let firstRun: { user: string; password: string; tls: boolean } | undefined;
    if (!existsSync(configFile) && values.config === undefined) {
      firstRun = await writeFirstConfig(configFile);
      io.out(`postern: wrote ${relative(io.cwd, configFile)} (read it: each key is explained there)\n`);
    }
    const shown = loadConfig(configFile);
    const log = moduleLogger(
      createLogger({
        bits: shown.ok ? shown.loaded.config.log.level : 15,
        pretty: (shown.ok ? shown.loaded.config.log.pretty : undefined) ?? process.stdout.isTTY === true,
      }),
      "GATEWAY",
    );
    try {
      const gateway = await startSupervisor(configFile, log);
      process.on("SIGHUP", () => {
        gateway.reload().then(
          ({ text }) => io.err(text),
          (error: Error) => io.err(`reload failed: ${error.message}\n`),
        );
      });
      for (const signal of ["SIGTERM", "SIGINT"] as const) {
        process.once(signal, () => {
          gateway.stop().catch((error: Error) => io.err(`stop failed: ${error.message}\n`));
        });
      }
      io.out(`postern: listening on ${gateway.addresses.join(", ")}\n`);
      io.out(hints(gateway.addresses[0] ?? "", firstRun));
      return await gateway.done;
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      io.err(`postern: ${error.message}\n`);
      return 1;
    }
  },
};

function hints(address: string, firstRun: { user: string; password: string; tls: boolean } | undefined): string {
  const lines = [
    "Try:",
    `  npx postern send --server ${address} --from you@elsewhere.example --to user@example.org --subject hello`,
    "  npx postern store list user@example.org        what arrived",
    "  npx postern queue list                         what waits",
    "  edit rules/default.script, then: npx postern reload",
  ];
  if (firstRun?.tls) {
    lines.splice(
      1,
      0,
      `  account ${firstRun.user}, password ${firstRun.password} (shown only now; AUTH needs STARTTLS)`,
    );
  }
  return `${lines.join("\n")}\n`;
}
