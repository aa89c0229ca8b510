/** Messages between the supervisor and its workers, over the IPC channel of the worker process. */
import type { MetricValues } from "../telemetry/metrics.ts";
import type { TrialCounts } from "./shadow.ts";
import type { Ban, FlowAnswer, FlowNote } from "./shared-flow.ts";
import type { Snapshot } from "./snapshot.ts";

export type ToWorker =
  | { type: "start"; snapshot: Snapshot; index: number; shards: number[]; tlsTicketKeys: string }
  | { type: "reload"; snapshot: Snapshot }
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
