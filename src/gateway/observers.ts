/**
 * What stands beside reception in a worker: the recorder and the candidate on trial, as the configuration in force
 * wants them. Sessions keep what they began with.
 * Failure: a record folder that can't be made throws when the configuration is taken.
 */
import type { Logger } from "../telemetry/log.ts";
import type { Live } from "./live.ts";
import { Recording } from "./recording.ts";
import { ShadowTrial, type TrialCounts } from "./shadow.ts";

export class Observers {
  recording: Recording | undefined;
  trial: ShadowTrial | undefined;
  readonly #worker: number;
  readonly #log: Logger;
  /** The configuration that `recording` was made from. */
  #settings = "";

  constructor(worker: number, log: Logger) {
    this.#worker = worker;
    this.#log = log;
  }

  /** Takes what is in force now. `texts`: of live policy and candidate, by hash. */
  take(live: Live, texts: Readonly<Record<string, string>>): void {
    const { config, budget, program, candidate } = live;
    const settings = JSON.stringify(config.record);
    if (settings !== this.#settings) {
      void this.recording?.close(); // sessions that still hold it write to its end
      this.recording = config.record.enabled ? new Recording(config, this.#worker, budget, this.#log) : undefined;
      this.#settings = settings;
    }
    for (const one of [program, candidate]) if (one) this.recording?.keepPolicy(one, texts[one.hash] ?? "");
    const percent = config.policy.candidate?.enforce ?? 0;
    if (this.trial?.program.hash === candidate?.hash && this.trial?.percent === percent) return;
    this.stopTrial();
    this.trial = candidate && new ShadowTrial(candidate, percent);
  }

  takeCounts(): { hash: string; counts: TrialCounts } | undefined {
    const { trial } = this;
    if (!trial?.running || (trial.counts.sessions === 0 && trial.counts.events === 0)) return undefined;
    return { hash: trial.program.hash, counts: trial.take() };
  }

  stopTrial(): void {
    if (this.trial) this.trial.running = false;
    this.trial = undefined;
  }

  async close(): Promise<void> {
    await this.recording?.close();
  }
}
