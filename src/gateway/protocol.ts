/** Messages between the supervisor and its workers, over the IPC channel of the worker process. */
import type { MetricValues } from "../telemetry/metrics.ts";
import type { TrialCounts } from "./shadow.ts";
import type { Ban, FlowAnswer, FlowNote } from "./shared-flow.ts";

export type ToWorker =
  /** A part of a serialized snapshot, its place and the size of the whole; `start` and `reload` mean the last one. */
  | { type: "snapshot"; part: Uint8Array; at: number; total: number }
  /** `stoppedCandidate`: hash of the candidate that was stopped after the snapshot was taken. */
  | { type: "start"; index: number; shards: number[]; tlsTicketKeys: string; stoppedCandidate?: string }
  | { type: "reload" }
  | { type: "flow"; answers: readonly FlowAnswer[] }
  | { type: "bans"; bans: readonly Ban[] }
  /** The candidate policy has to go. */
  | { type: "trialStopped" }
  | { type: "drain" };

export type FromWorker =
  /** Listening; `addresses` in the order of the configuration's listeners. */
  | { type: "ready"; addresses: readonly string[] }
  | { type: "failed"; reason: string }
  | { type: "reloaded"; ok: boolean; reason: string }
  | { type: "flow"; notes: readonly FlowNote[] }
  | { type: "metrics"; values: MetricValues }
  /** What the candidate policy did since the last of these; `hash` names it. */
  | { type: "trial"; hash: string; counts: TrialCounts }
  | { type: "drained" };
