/**
 * `postern sieve run`: plays a Sieve script on a message and prints what would happen; `postern sieve lint`: what
 * another server would refuse of a script. Nothing is delivered; the edited message, if any, goes to a new file.
 */
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { diagnosticJson, formatDiagnostic } from "../language/diagnostic.ts";
import { compileSieve, type SieveScript } from "../sieve/compile.ts";
import { fileIncludes } from "../sieve/include-files.ts";
import { type Profile, profiles } from "../sieve/profile.ts";
import type { Action } from "../sieve/result.ts";
import { runSieve, type SieveResult } from "../sieve/run.ts";
import { messageToPlay } from "../workbench/play/sieve-message.ts";
import type { Command, CommandIo } from "./command.ts";

const help = `postern sieve run SCRIPT.sieve MESSAGE.eml [--from A] [--to A] [--profile NAME] [--json]
postern sieve lint SCRIPT.sieve [--profile NAME] [--json]

run    Plays the script on the message and prints the actions; nothing is delivered. --from and --to are the
       envelope; without them they come from Return-Path or From, and from Delivered-To or To. Included scripts are
       looked for beside the script (personal) and in its folder "global".
lint   Checks the script under another server's rules and says what that server would refuse.

Profiles: ${Object.keys(profiles).join(", ")}. Exit code: 0 done, 1 errors in the script, 2 wrong usage.
`;

interface Arguments {
  positionals: string[];
  from: string | undefined;
  to: string | undefined;
  json: boolean;
  profile: Profile;
}

class UsageError extends Error {}

function parse(argv: string[]): Arguments {
  let parsed: ReturnType<typeof parseOptions>;
  try {
    parsed = parseOptions(argv);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const { values, positionals } = parsed;
  const name = values.profile ?? (positionals[0] === "lint" ? "axigen" : "rfc");
  const profile = Object.hasOwn(profiles, name) ? profiles[name as keyof typeof profiles] : undefined;
  if (profile === undefined) throw new UsageError(`unknown profile "${name}"`);
  return { positionals, from: values.from, to: values.to, json: values.json ?? false, profile };
}

function parseOptions(args: string[]) {
  return parseArgs({
    args,
    allowPositionals: true,
    options: {
      from: { type: "string" },
      to: { type: "string" },
      json: { type: "boolean" },
      profile: { type: "string" },
    },
  });
}

async function run(argv: string[], io: CommandIo): Promise<number> {
  try {
    const args = parse(argv);
    const [mode, ...files] = args.positionals;
    if (mode === "run" && files.length === 2) return await play(files[0]!, files[1]!, args, io);
    if (mode === "lint" && files.length === 1) return await lint(files[0]!, args, io);
    throw new UsageError(mode === undefined ? "say what to do" : `wrong arguments for "${mode}"`);
  } catch (error) {
    const unreadable = (error as NodeJS.ErrnoException).code !== undefined && !(error instanceof UsageError);
    if (!(error instanceof UsageError) && !unreadable) throw error;
    io.err(`postern sieve: ${(error as Error).message}\n${unreadable ? "" : help}`);
    return 2;
  }
}

async function compile(file: string, args: Arguments, io: CommandIo): Promise<SieveScript | undefined> {
  const path = resolve(io.cwd, file);
  const source = await readFile(path, "utf8");
  const compiled = compileSieve(source, { file, profile: args.profile, includeLoader: fileIncludes(dirname(path)) });
  if (args.json && compiled.ok) return compiled.script;
  if (args.json) {
    const errors = compiled.diagnostics.map((d) => ({ ...diagnosticJson(d), message: d.message }));
    io.out(`${JSON.stringify({ actions: [], implicitKeep: true, errors }, null, 2)}\n`);
    return undefined;
  }
  for (const diagnostic of compiled.diagnostics) io.err(formatDiagnostic(diagnostic, source));
  return compiled.ok ? compiled.script : undefined;
}

async function play(scriptFile: string, messageFile: string, args: Arguments, io: CommandIo): Promise<number> {
  const script = await compile(scriptFile, args, io);
  if (script === undefined) return 1;
  const { message, envelope } = messageToPlay(await readFile(resolve(io.cwd, messageFile)), args);
  const result = runSieve(script, { message, envelope }, { settings: args.profile.settings });
  const edited = await writeEdited(result);
  if (args.json) {
    const { implicitKeep, errors } = result;
    const document = {
      actions: result.actions.map(actionJson),
      implicitKeep,
      errors,
      ...(edited ? { message: edited } : {}),
    };
    io.out(`${JSON.stringify(document, null, 2)}\n`);
  } else io.out(describe(result, scriptFile, edited));
  return result.errors.length > 0 ? 1 : 0;
}

async function writeEdited(result: SieveResult): Promise<string | undefined> {
  if (result.editedMessage === undefined) return undefined;
  const path = join(await mkdtemp(join(tmpdir(), "postern-sieve-")), "message.eml");
  await writeFile(path, result.editedMessage);
  return path;
}

/** An action without the message it carries. */
function actionJson(action: Action): Record<string, unknown> {
  return Object.fromEntries(Object.entries(action).filter(([key]) => key !== "mail"));
}

function describe(result: SieveResult, file: string, edited: string | undefined): string {
  const lines = result.actions.map((action) => {
    const { action: name, ...rest } = actionJson(action);
    const details = Object.entries(rest)
      .filter(([, value]) => value !== false && !(Array.isArray(value) && value.length === 0))
      .map(([key, value]) => `${key}=${JSON.stringify(value)}`);
    return [name, ...details].join(" ");
  });
  if (result.implicitKeep) lines.push("implicit keep");
  for (const text of result.log) lines.push(`log: ${text}`);
  for (const { line, message } of result.errors) lines.push(`${file}:${line}: run-time error: ${message}`);
  if (edited) lines.push(`edited message: ${edited}`);
  return `${lines.join("\n")}\n`;
}

async function lint(file: string, args: Arguments, io: CommandIo): Promise<number> {
  const path = resolve(io.cwd, file);
  const source = await readFile(path, "utf8");
  const { ok, diagnostics } = compileSieve(source, {
    file,
    profile: args.profile,
    includeLoader: fileIncludes(dirname(path)),
  });
  if (args.json) io.out(`${JSON.stringify({ ok, diagnostics: diagnostics.map(diagnosticJson) }, null, 2)}\n`);
  else {
    for (const diagnostic of diagnostics) io.out(formatDiagnostic(diagnostic, source));
    io.out(
      ok
        ? `${file}: accepted under profile ${args.profile.name}\n`
        : `${file}: would be refused under profile ${args.profile.name}\n`,
    );
  }
  return ok ? 0 : 1;
}

export const command: Command = {
  name: "sieve",
  summary: "play a Sieve script on a message, or lint it for another server",
  help,
  run,
};
