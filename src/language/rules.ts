/**
 * A run of rules as a table: in order, or only the candidates that an index names.
 *
 * Invariants: rules run in the order of the table; with `otherwise` (an if/elsif/else chain) the first true rule is the
 * last to run, and `otherwise` runs when none was true. Each rule's code is made when it is first needed.
 */
import type { Host } from "./host.ts";
import type { ProbeIndex } from "./probe.ts";
import { proceed, type Running, type RunState, type Signal, type Unit } from "./run.ts";

/** What a rule of a chain answers when its test was true and its block ran to the end. */
export const taken = -1;

export interface TableOptions {
  readonly otherwise?: Unit;
  readonly index?: ProbeIndex | undefined;
}

export class RuleTable implements Unit {
  readonly async: boolean;
  private readonly units: Array<Unit | undefined>;
  private readonly make: (rule: number) => Unit;
  private readonly otherwise: Unit | undefined;
  private readonly index: ProbeIndex | undefined;

  constructor(size: number, make: (rule: number) => Unit, async: boolean, options: TableOptions = {}) {
    this.units = new Array<Unit | undefined>(size);
    this.make = make;
    this.async = async;
    this.otherwise = options.otherwise;
    this.index = options.index;
  }

  run(slots: string[], host: Host, state: RunState): Signal | Running {
    return this.async ? this.runAsync(slots, host, state) : this.runSync(slots, host, state);
  }

  private runSync(slots: string[], host: Host, state: RunState): Signal {
    const candidates = this.index?.candidates(slots, host, state);
    const count = candidates ? candidates.length : this.units.length;
    for (let i = 0; i < count; i++) {
      const signal = this.unit(candidates ? candidates[i]! : i).run(slots, host, state) as Signal;
      if (signal !== proceed) return signal === taken ? proceed : signal;
    }
    return this.otherwise ? (this.otherwise.run(slots, host, state) as Signal) : proceed;
  }

  private *runAsync(slots: string[], host: Host, state: RunState): Running {
    const candidates = this.index?.candidates(slots, host, state);
    const count = candidates ? candidates.length : this.units.length;
    for (let i = 0; i < count; i++) {
      const signal: Signal = yield* settle(this.unit(candidates ? candidates[i]! : i).run(slots, host, state));
      if (signal !== proceed) return signal === taken ? proceed : signal;
    }
    return this.otherwise ? yield* settle(this.otherwise.run(slots, host, state)) : proceed;
  }

  private unit(rule: number): Unit {
    return (this.units[rule] ??= this.make(rule));
  }
}

/** Rules of an asynchronous table may themselves be synchronous. */
function* settle(result: Signal | Running): Running {
  return typeof result === "number" ? result : yield* result;
}
