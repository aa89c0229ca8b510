/** A policy that can run: what it is known by, and sessions of it. Failure: none of its own (runtime.ts). */
import type { Diagnostic } from "../language/diagnostic.ts";
import { type Executable, Session } from "./runtime.ts";
import type { EventName, FactSource, PolicyContext, PolicyProgram, PolicySession } from "./types.ts";

/** What a policy is known by. */
export type Identity = Pick<PolicyProgram, "hash" | "file" | "warnings" | "lists">;

export class Program implements PolicyProgram {
  readonly hash: string;
  readonly file: string;
  readonly warnings: readonly Diagnostic[];
  readonly lists: readonly string[];
  private readonly executable: Executable;

  constructor({ hash, file, warnings, lists }: Identity, executable: Executable) {
    this.hash = hash;
    this.file = file;
    this.warnings = warnings;
    this.lists = lists;
    this.executable = executable;
  }

  isEmpty(event: EventName): boolean {
    return !this.executable.compiled.has(event);
  }

  session(context: PolicyContext, facts: FactSource, exports: Record<string, string> = {}): PolicySession {
    return new Session(this.executable, context, facts, exports);
  }
}
