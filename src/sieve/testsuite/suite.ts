/**
 * The state of one test file while it runs: settings staged and in force, the error log, the compiled script, the
 * current message and envelope, results and the world they act on.
 * Invariants: one interpreter run per file, so all of it persists between tests. Failure: TestFailed ends a test,
 * SuiteStopped the file; both are for run.ts.
 */
import { readFileSync } from "node:fs";
import { basename, dirname, isAbsolute, join } from "node:path";
import { type Budget, budgetDefaults } from "../../config/budget.ts";
import { mailboxesOf, parseAddresses } from "../../message/addresses.ts";
import { formatAddress, parsePath } from "../address.ts";
import { compileSieve, loadModule, type SieveScript } from "../compile.ts";
import { type SieveEnvelope, SieveHost, type SieveInput } from "../host.ts";
import type { IncludeLoader } from "../includes.ts";
import { Mail } from "../mail.ts";
import type { Registry } from "../registry.ts";
import { Result } from "../result.ts";
import { execute, runProblem } from "../run.ts";
import type { SieveSettings } from "../settings.ts";
import { carryOut, keep } from "./execute.ts";
import { NamedLists } from "./lists.ts";
import { SettingError, settingsFrom } from "./settings.ts";
import { World } from "./world.ts";

/** `test_fail`. */
export class TestFailed extends Error {}

/** `stop`, or something that a test file can't go on after. */
export class SuiteStopped extends Error {}

const defaultMessage = "From: sender@example.com\r\nTo: recipient@example.org\r\nSubject: Frop!\r\n\r\nFriep!\r\n";

export class Suite {
  readonly directory: string;
  readonly world = new World();
  readonly budget: Budget = budgetDefaults;
  readonly host: SuiteHost;
  settings: SieveSettings;
  readonly #registry: Registry;
  readonly #staged = new Map<string, string>();
  /** Texts of errors since the log was cleared. */
  errors: string[] = [];
  script: SieveScript | undefined;

  constructor(path: string, registry: Registry) {
    this.directory = dirname(path);
    this.#registry = registry;
    this.settings = settingsFrom(this.#staged);
    this.host = this.#newHost(Buffer.from(defaultMessage), { from: "", to: "" }, this.#newResult());
    this.setMessage(Buffer.from(defaultMessage));
  }

  #newResult(): Result {
    return new Result(() => this.settings);
  }

  #newHost(message: Buffer, envelope: SieveEnvelope, result: Result): SuiteHost {
    const input: SieveInput = {
      message,
      envelope,
      mailboxes: this.world,
      lists: new NamedLists(() => this.#staged, this.directory),
    };
    return new SuiteHost(this, {
      registry: this.#registry,
      budget: this.budget,
      settings: this.settings,
      input,
      result,
    });
  }

  // ---- settings

  stage(key: string, value: string | undefined): void {
    if (value === undefined) this.#staged.delete(key);
    else this.#staged.set(key, value);
  }

  reload(extension: string | undefined): void {
    if (extension !== undefined && !this.#registry.extensions.has(extension)) {
      throw new SuiteStopped(`test_config_reload: unknown extension '${extension}'`);
    }
    try {
      this.settings = settingsFrom(this.#staged);
      this.host.settings = this.settings;
    } catch (error) {
      if (!(error instanceof SettingError)) throw error;
      throw new SuiteStopped(`test_config_reload: ${error.message}`);
    }
  }

  // ---- message and envelope

  /** A new message; its envelope is derived from its fields. */
  setMessage(message: Buffer): void {
    this.host.replaceMail(Mail.of(message, this.budget));
    const first = (...names: string[]) => {
      for (const name of names) {
        for (const field of this.host.mail.all(name)) {
          const box = mailboxesOf(parseAddresses(field.value)).find((candidate) => candidate.address !== "");
          if (box) return formatAddress(box);
        }
      }
      return undefined;
    };
    const to = first("envelope-to", "to") ?? "recipient@example.com";
    const from = first("return-path", "sender", "from") ?? "sender@example.com";
    this.host.envelope = { from, to, originalTo: to, auth: process.env.USER ?? "testsuite" };
  }

  setEnvelope(part: string, text: string): void {
    const { envelope } = this.host;
    if (part === "auth") {
      this.host.envelope = { ...envelope, auth: text };
      return;
    }
    const parsed = parsePath(text, { lonelyLocal: part !== "from" });
    if (!parsed.ok)
      this.errors.push(`failed to set envelope.${part}: '${text}' is not a valid path: ${parsed.problem}`);
    const address = parsed.ok ? formatAddress(parsed.address) : "";
    if (part === "from") this.host.envelope = { ...envelope, from: address };
    else if (part === "to") this.host.envelope = { ...envelope, to: address, originalTo: address };
    else this.host.envelope = { ...envelope, originalTo: address };
  }

  /** Makes a message of the out-box the current one. */
  openSent(index: number): boolean {
    const sent = this.world.outbox[index];
    if (sent === undefined) return false;
    this.setMessage(sent.message);
    this.host.envelope = { ...this.host.envelope, from: sent.from, to: sent.to, originalTo: sent.to };
    return true;
  }

  openStored(folder: string, index: number): boolean {
    const box = this.world.messages(folder);
    if (box === undefined) {
      this.errors.push(`failed to open mailbox '${folder}': Mailbox doesn't exist: ${folder}`);
      this.setMessage(Buffer.from(defaultMessage));
      return false;
    }
    const stored = box[index];
    if (stored === undefined) return false;
    this.setMessage(stored.message);
    this.host.flags = [...stored.flags];
    return true;
  }

  // ---- scripts

  compile(path: string): boolean {
    this.errors = [];
    const script = this.#compileFile(path);
    if (script === undefined) return false;
    this.script = script;
    return true;
  }

  #compileFile(path: string): SieveScript | undefined {
    const file = isAbsolute(path) ? path : join(this.directory, path);
    let source: string;
    try {
      source = readFileSync(file, "utf8");
    } catch {
      this.errors.push(`sieve script '${path}' does not exist`); // unreadable is as good as absent for a test
      return undefined;
    }
    const compiled = compileSieve(source, {
      file: basename(file),
      settings: this.settings,
      budget: this.budget,
      registry: this.#registry,
      includeLoader: suiteIncludes(this.directory),
    });
    if (compiled.ok) return compiled.script;
    for (const diagnostic of compiled.diagnostics) {
      if (diagnostic.severity === "error") this.errors.push(diagnostic.message);
    }
    const stage = { parse: "parse", validate: "validation", generate: "code generation" }[compiled.stage];
    this.errors.push(`${stage} failed`);
    return undefined;
  }

  /** Runs the compiled script on the current message; its actions are added to the shared result. */
  run(append: boolean): boolean {
    this.errors = [];
    if (this.script === undefined) {
      this.errors.push("no script compiled yet");
      return false;
    }
    if (!append) {
      this.host.result = this.#newResult();
      this.host.flags = [];
    }
    return this.#runScript(this.script, this.host.result);
  }

  #runScript(script: SieveScript, result: Result): boolean {
    const host = this.#newHost(this.host.mail.bytes, this.host.envelope, result);
    host.replaceMail(this.host.mail);
    host.flags = [...this.host.flags];
    try {
      execute(script, host);
    } catch (error) {
      if (error instanceof TestFailed) return false;
      if (!(error instanceof SuiteStopped)) {
        this.errors.push(runProblem(error).message);
        return false;
      }
    }
    this.host.replaceMail(host.mail);
    this.host.flags = host.flags;
    return true;
  }

  /** Several scripts in sequence: a later one runs only while the message is still kept. */
  multiscript(paths: readonly string[]): boolean {
    this.errors = [];
    this.host.flags = [];
    for (const path of paths) {
      const script = this.#compileFile(path);
      if (script === undefined) return false;
      const result = this.#newResult();
      this.host.result = result;
      if (!this.#runScript(script, result)) return false;
      const kept = result.actions.find((placed) => placed.action.action === "keep");
      if (!this.#carryOut(false)) return false;
      if (kept?.action.action === "keep" && kept.action.flags) this.host.flags = [...kept.action.flags];
      if (!result.implicitKeep && kept === undefined) return true;
    }
    keep(this.host.mail, this.host.flags, this.#surroundings());
    return true;
  }

  executeResult(): boolean {
    this.errors = [];
    return this.#carryOut(true);
  }

  #carryOut(finalKeep: boolean): boolean {
    const errors = carryOut(this.host.result, this.#surroundings(), finalKeep);
    this.errors.push(...errors);
    return errors.length === 0;
  }

  #surroundings() {
    const { mail, envelope, flags } = this.host;
    return { world: this.world, envelope, settings: this.settings, mail, flags };
  }

  resetResult(): void {
    this.host.result = this.#newResult();
    this.host.flags = [];
    this.world.outbox = [];
  }

  // ---- stored programs

  saveBinary(name: string): void {
    if (this.script === undefined) throw new SuiteStopped("test_binary_save: no script compiled yet");
    const { module, entries, capabilities } = this.script;
    this.world.binaries.set(name, JSON.stringify({ module, entries, capabilities: [...capabilities] }));
  }

  loadBinary(name: string): void {
    const text = this.world.binaries.get(name);
    if (text === undefined) throw new SuiteStopped(`test_binary_load: no binary '${name}'`);
    const stored = JSON.parse(text) as {
      module: SieveScript["module"];
      entries: SieveScript["entries"];
      capabilities: string[];
    };
    this.script = loadModule(stored.module, stored.entries, new Set(stored.capabilities), {
      file: stored.module.file,
      settings: this.settings,
      budget: this.budget,
    });
  }
}

/** Personal scripts are in the suite's folder `included`, global ones in `included-global`. */
export function suiteIncludes(directory: string): IncludeLoader {
  return (location, name) => {
    try {
      return readFileSync(
        join(directory, location === "personal" ? "included" : "included-global", `${name}.sieve`),
        "utf8",
      );
    } catch {
      return undefined; // no such script
    }
  };
}

/** A host whose words can reach the suite. */
export class SuiteHost extends SieveHost {
  readonly suite: Suite;

  constructor(suite: Suite, options: ConstructorParameters<typeof SieveHost>[0]) {
    super(options);
    this.suite = suite;
  }
}
