/**
 * `postern <command>`: finds the command, runs it, exits with its code. Commands are loaded only when asked for, so
 * that `serve` starts quickly. Exit codes: those of the command; 2 for an unknown one.
 */
import { enableCompileCache } from "node:module";
import { resolve } from "node:path";
import { nearest } from "../language/nearest.ts";
import type { Command, CommandIo } from "./command.ts";

const loaders: Readonly<Record<string, () => Promise<{ command: Command }>>> = {
  serve: () => import("./serve.ts"),
  reload: () => import("./reload.ts"),
  policy: () => import("./policy.ts"),
  replay: () => import("./replay.ts"),
  send: () => import("./send.ts"),
  hash: () => import("./hash.ts"),
  check: () => import("./check.ts"),
  explain: () => import("./explain.ts"),
  test: () => import("./test.ts"),
  prove: () => import("./prove.ts"),
  diff: () => import("./diff.ts"),
  fmt: () => import("./fmt.ts"),
  sieve: () => import("./sieve.ts"),
  queue: () => import("./queue.ts"),
  store: () => import("./store.ts"),
  quarantine: () => import("./quarantine.ts"),
  backup: () => import("./backup.ts"),
  conformance: () => import("./conformance.ts"),
  lsp: () => import("./lsp.ts"),
  dap: () => import("./dap.ts"),
};

async function main(argv: string[]): Promise<number> {
  const io: CommandIo = {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    cwd: process.cwd(),
  };
  // Whoever reads our output may have seen enough: `postern queue list | head`.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  const [name = "--help", ...rest] = argv;
  if (name === "--help" || name === "-h" || name === "help") {
    io.out("postern — a mail gateway whose heart is a compiled rule engine\n\nUsage: postern <command> [options]\n\n");
    for (const load of Object.values(loaders)) {
      const { command } = await load();
      io.out(`  ${command.name.padEnd(12)} ${command.summary}\n`);
    }
    io.out("\n`postern <command> --help` tells more of each.\n");
    return 0;
  }
  const load = Object.hasOwn(loaders, name) ? loaders[name] : undefined;
  if (!load) {
    const near = nearest(name, Object.keys(loaders));
    io.err(`postern: unknown command "${name}"${near ? `; did you mean "${near}"?` : ""} (postern --help lists all)\n`);
    return 2;
  }
  const { command } = await load();
  if (rest.includes("--help") || rest.includes("-h")) {
    io.out(command.help.endsWith("\n") ? command.help : `${command.help}\n`);
    return 0;
  }
  return command.run(rest, io);
}

// Compiled code is kept beside the dependencies: the gateway and its workers then start in a third of the time.
enableCompileCache(resolve(import.meta.dirname, "../../node_modules/.cache/postern"));
// The exit code is set instead of calling exit(), so that pending output is written first.
process.exitCode = await main(process.argv.slice(2));
