/**
 * The recorder of one worker: ids of decisions, where their records go, and the policy texts they were made by, so that
 * `postern explain --id` can show a decision after the policy has changed.
 * Invariants: ids rise with time and are unique over all workers of one gateway. Failure: a folder that can't be made
 * throws when recording is taken; later faults of the disk are logged once a minute and cost records, never mail.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Budget } from "../config/budget.ts";
import type { Config } from "../config/schema.ts";
import type { PolicyProgram } from "../policy/types.ts";
import type { Logger } from "../telemetry/log.ts";
import { Redactor } from "../workbench/record/redact.ts";
import { RecordRing } from "../workbench/record/ring.ts";
import type { HeaderMode } from "../workbench/record/transcript.ts";
import type { DecisionRecord } from "../workbench/record/types.ts";

const logEveryMs = 60_000;
const mib = 1024 * 1024;

export class Recording {
  readonly headers: HeaderMode;
  /** Replies tell the decision id. */
  readonly inReplies: boolean;
  readonly #ring: RecordRing;
  readonly #dir: string;
  readonly #worker: number;
  #count = 0;

  constructor(config: Config, worker: number, budget: Budget, log: Logger) {
    const { record } = config;
    this.headers = record.headers;
    this.inReplies = record.idsInReplies;
    this.#dir = recordFolder(config);
    this.#worker = worker;
    let lastLog = 0;
    this.#ring = new RecordRing({
      dir: this.#dir,
      worker,
      maxBytes: (record.maxMiB * mib) / config.workers,
      pending: budget.recordsPending,
      redactor: new Redactor(record.redact, secretOf(this.#dir)),
      onError(error) {
        if (Date.now() - lastLog < logEveryMs) return;
        lastLog = Date.now();
        log.error({ err: error }, "decision records are lost");
      },
    });
  }

  /** Time, worker and a counter in base 36: 13 letters and digits. */
  nextId(): string {
    this.#count = (this.#count + 1) % 36 ** 3;
    const digits = (value: number, width: number): string => value.toString(36).padStart(width, "0");
    return `${digits(Date.now(), 8)}${digits(this.#worker, 2)}${digits(this.#count, 3)}`;
  }

  add(record: DecisionRecord): void {
    this.#ring.add(record);
  }

  /** Keeps a program's text beside the records. `text`: as it was compiled. */
  keepPolicy(program: PolicyProgram, text: string): void {
    mkdirSync(join(this.#dir, "policies"), { recursive: true, mode: 0o750 });
    const path = join(this.#dir, "policies", `${program.hash}.json`);
    writeFileSync(path, JSON.stringify({ file: program.file, text }), { mode: 0o640 });
  }

  close(): Promise<void> {
    return this.#ring.close();
  }
}

export const recordFolder = (config: Pick<Config, "data">): string => join(config.data, "records");

/** The secret that pseudonyms are made with: one for all workers, made by the first. */
function secretOf(dir: string): string {
  const path = join(dir, "secret");
  mkdirSync(dir, { recursive: true, mode: 0o750 });
  try {
    writeFileSync(path, randomBytes(32).toString("hex"), { mode: 0o600, flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  return readFileSync(path, "utf8");
}
