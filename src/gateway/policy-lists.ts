/**
 * The lists that policies look into, opened per program relative to its script's folder, shared between programs.
 * Invariants: a session asks the lists of the program it began with; a changed file is loaded in the background.
 * Failure: a list that was never loaded throws ListUnavailable, which the policy's run turns into a temporary refusal.
 */
import { dirname } from "node:path";
import type { Budget } from "../config/budget.ts";
import { type ListHandle, ListRegistry } from "../language/lists/registry.ts";
import type { PolicyProgram } from "../policy/types.ts";
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

  close(): void {
    this.#registry.close();
  }
}
