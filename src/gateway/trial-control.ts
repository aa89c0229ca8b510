/**
 * The supervisor's hand on a candidate policy: stops a trial when its statistics say so or when it is asked to, and
 * promotes the candidate to the live policy.
 * Invariants: a candidate that was stopped stays stopped, over reloads and restarts too, until its text changes;
 * promotion is a change of the live script's file and a reload, with the old text kept beside it as NAME.previous.
 * Failure: when the note of a stop can't be written, the stop still holds in this process; a promotion that fails half
 * way puts the old text back.
 */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { loadConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import type { Logger } from "../telemetry/log.ts";
import type { ControlAnswer } from "./control.ts";
import type { TrialCounts } from "./shadow.ts";
import type { Snapshot } from "./snapshot.ts";
import { Trial } from "./trial.ts";

interface Stopped {
  /** Hash of the candidate. */
  hash: string;
  reason: string;
}

export interface TrialEffects {
  reload(): Promise<ControlAnswer>;
  /** Tells all workers, also those that start later, that this candidate has to go. */
  stopWorkers(hash: string): void;
}

const noteOf = (data: string): string => join(data, "candidate.json");

/** Hash of the candidate that was stopped last in the data folder of a configuration; undefined when none was. */
export function stoppedIn(configFile: string): string | undefined {
  const result = loadConfig(configFile);
  return result.ok ? readStopped(result.loaded.config.data)?.hash : undefined;
}

function readStopped(data: string): Stopped | undefined {
  try {
    return JSON.parse(readFileSync(noteOf(data), "utf8")) as Stopped;
  } catch {
    return undefined; // none was stopped, or the note is damaged: the trial begins anew, thresholds still hold
  }
}

export class TrialControl {
  readonly #log: Logger;
  readonly #effects: TrialEffects;
  #config: Config | undefined;
  #trial: Trial | undefined;
  #terms = "";
  /** The text on trial: its file may have been edited since. */
  #text = "";
  #stopped: Stopped | undefined;

  constructor(log: Logger, effects: TrialEffects) {
    this.#log = log;
    this.#effects = effects;
  }

  /** A configuration is in force. */
  take({ loaded: { config }, files, candidate }: Snapshot): void {
    const hash = candidate?.identity.hash;
    this.#config = config;
    this.#stopped = readStopped(config.data);
    const settings = config.policy.candidate;
    this.#text = files[settings?.smtpFilters ?? ""] ?? "";
    const terms = JSON.stringify([hash, settings]);
    // The same candidate on the same terms goes on where it was.
    if (this.#trial && terms === this.#terms) return;
    this.#terms = terms;
    this.#trial = hash !== undefined && settings ? new Trial(hash, settings) : undefined;
  }

  /** A worker counted. */
  add(hash: string, counts: TrialCounts): void {
    if (this.#trial?.hash !== hash) return;
    const reason = this.#trial.add(counts);
    if (reason === undefined) return;
    this.#log.error(
      { candidate: hash, statistics: this.#trial.status() },
      `candidate policy stepped back: it ${reason}`,
    );
    this.#stop(`stepped back: it ${reason}`);
  }

  status(): ControlAnswer {
    if (this.#trial) return { ok: true, text: this.#trial.status() };
    const candidate = this.#config?.policy.candidate;
    if (!candidate) return { ok: true, text: "no candidate policy is configured (policy.candidate)\n" };
    const text = this.#stopped
      ? `candidate ${candidate.smtpFilters} (${this.#stopped.hash}) ${this.#stopped.reason}\n`
      : `candidate ${candidate.smtpFilters} is the live policy already\n`;
    return { ok: true, text };
  }

  abort(): ControlAnswer {
    if (!this.#trial) return { ok: false, text: "no candidate policy is on trial\n" };
    const statistics = this.#trial.status();
    this.#log.info({ candidate: this.#trial.hash }, "the trial of the candidate policy was aborted");
    this.#stop("aborted by hand");
    return { ok: true, text: `${statistics}aborted; a changed text of the candidate can be tried again\n` };
  }

  async promote(): Promise<ControlAnswer> {
    const { smtpFilters: live, candidate } = this.#config?.policy ?? {};
    if (!this.#trial || !candidate) return { ok: false, text: "no candidate policy is on trial\n" };
    if (typeof live !== "string") {
      return { ok: false, text: "there is no live script to replace: name the candidate as policy.smtpFilters\n" };
    }
    if (dirname(live) !== dirname(candidate.smtpFilters)) {
      return { ok: false, text: "live script and candidate lie in different folders: their lists would differ\n" };
    }
    const previous = `${live}.previous`;
    try {
      copyFileSync(live, previous);
      writeFileSync(live, this.#text);
    } catch (error) {
      return { ok: false, text: `${(error as Error).message}\n` };
    }
    const answer = await this.#effects.reload();
    if (!answer.ok) copyFileSync(previous, live);
    const end = answer.ok ? `promoted; the old policy is ${previous}\n` : "not promoted\n";
    return { ok: answer.ok, text: `${answer.text}${end}` };
  }

  #stop(reason: string): void {
    const { hash } = this.#trial!;
    this.#trial = undefined;
    this.#stopped = { hash, reason };
    this.#effects.stopWorkers(hash);
    const { data } = this.#config!;
    try {
      mkdirSync(data, { recursive: true });
      writeFileSync(noteOf(data), `${JSON.stringify(this.#stopped)}\n`);
    } catch (error) {
      this.#log.error({ err: error }, "the stop of the candidate could not be noted; a restart would try it again");
    }
  }
}
