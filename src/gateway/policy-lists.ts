/**
 * The lists that policies look into: those of a script, opened per program relative to its folder, and the named ones
 * of the configuration, which Sieve scripts know (RFC 6134). A file is loaded once, whoever names it.
 * Invariants: a session asks the lists of the program it began with; a changed file is loaded in the background.
 * Failure: a list that was never loaded throws ListUnavailable, which the policy's run turns into a temporary refusal.
 */
import { dirname } from "node:path";
import type { Budget } from "../config/budget.ts";
import { type ListHandle, ListRegistry } from "../language/lists/registry.ts";
import type { PolicyProgram } from "../policy/types.ts";
import type { SieveLists } from "../sieve/host.ts";
import type { Logger } from "../telemetry/log.ts";

export class PolicyLists {
  readonly #registry: ListRegistry;
  readonly #handles = new WeakMap<PolicyProgram, ReadonlyMap<string, ListHandle>>();

  constructor(budget: Budget, log: Logger) {
    this.#registry = new ListRegistry({
      limits: budget,
      onEvent: (event) => {
        if ("error" in event) log.error({ list: event.list, reason: event.error.message }, "list can't be loaded");
        else log.info({ list: event.list, entries: event.entries, kind: event.kind }, "list loaded");
        if ("faults" in event && event.faults.length > 0) {
          log.warn({ list: event.list, faults: event.faults }, "lines of the list were left out");
        }
      },
    });
  }

  /** Opens the lists of a program; resolves when each has been loaded or has failed. */
  async open(program: PolicyProgram): Promise<void> {
    const folder = dirname(program.file);
    const handles = new Map(program.lists.map((name) => [name, this.#registry.open(name, folder)]));
    this.#handles.set(program, handles);
    await Promise.all([...handles.values()].map((handle) => handle.ready));
  }

  has(program: PolicyProgram, list: string, value: string): boolean {
    return this.#handles.get(program)?.get(list)?.has(value) ?? false;
  }

  /** Opens the named lists of a configuration; resolves when each has been loaded or has failed. */
  async openNamed(files: Readonly<Record<string, string>>): Promise<SieveLists> {
    const opened = Object.entries(files).map(
      ([name, file]) => [name, this.#registry.open(`file:${file}`, "/")] as const,
    );
    const handles = new Map(opened);
    await Promise.all([...handles.values()].map((handle) => handle.ready));
    return {
      known: (name) => handles.has(name),
      has: (name, value) => handles.get(name)?.has(value) ?? false,
      members: (name, limit) => handles.get(name)?.members(limit),
    };
  }

  close(): void {
    this.#registry.close();
  }
}
