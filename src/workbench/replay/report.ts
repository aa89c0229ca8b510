/**
 * What a replay found: how many decisions changed, grouped by the rule that makes the difference, with examples.
 * Invariants: bounded, whatever is replayed: groups and examples have limits, the counts stay exact.
 * Failure: none.
 */
import { printable } from "../../message/outcome.ts";
import type { Decision, DecisionRecord } from "../record/types.ts";
import type { Redecision } from "./decide.ts";

const maxGroups = 1_000;

export interface Flip {
  id: string;
  time: number;
  remoteIp: string;
  mailFrom: string;
  rcptTo: string[];
  before: Decision;
  after: Decision;
}

export interface FlipGroup {
  /** "accept → reject", or "recipients aa → ar". */
  change: string;
  /** Rule and line that makes the difference: the new one that decides, or the old one that no longer does. */
  by: string;
  count: number;
  examples: Flip[];
}

export class ReplayReport {
  decisions = 0;
  flips = 0;
  /** The same decision in other words. */
  reworded = 0;
  /** Records that a limit had cut: decided by what is left of them. */
  cut = 0;
  /** Flips that don't fit into a group of their own. */
  ungrouped = 0;
  /** What the new policy asked and the records don't know: how many decisions each touched. */
  readonly missing = new Map<string, number>();
  readonly #groups = new Map<string, FlipGroup>();
  readonly #examples: number;

  /** `examples`: kept for each group. */
  constructor(examples: number) {
    this.#examples = examples;
  }

  add(record: DecisionRecord, before: Decision, { decision: after, missing }: Redecision): void {
    this.decisions++;
    if (record.cut) this.cut++;
    for (const what of missing) {
      const known = this.missing.get(what);
      if (known !== undefined || this.missing.size < maxGroups) this.missing.set(what, (known ?? 0) + 1);
    }
    const change = changeOf(before, after);
    if (change === undefined) {
      if (before.code !== after.code || (after.code >= 400 && before.text !== after.text)) this.reworded++;
      return;
    }
    this.flips++;
    const by = after.verdict === "accept" && before.verdict !== "accept" ? before.by : after.by;
    const key = `${change}\0${by}`;
    let group = this.#groups.get(key);
    if (!group) {
      if (this.#groups.size >= maxGroups) {
        this.ungrouped++;
        return;
      }
      group = { change, by, count: 0, examples: [] };
      this.#groups.set(key, group);
    }
    group.count++;
    if (group.examples.length < this.#examples) group.examples.push(flipOf(record, before, after));
  }

  /** Most frequent first. */
  get groups(): FlipGroup[] {
    return [...this.#groups.values()].sort((a, b) => b.count - a.count);
  }
}

function changeOf(before: Decision, after: Decision): string | undefined {
  if (before.verdict !== after.verdict) return `${before.verdict} → ${after.verdict}`;
  if (before.effect !== after.effect) return `${before.at}: ${before.effect ?? ""} → ${after.effect ?? ""}`;
  if (before.recipients !== after.recipients) return `recipients ${before.recipients} → ${after.recipients}`;
  return undefined;
}

function flipOf(record: DecisionRecord, before: Decision, after: Decision): Flip {
  const inputs = (name: string): string[] =>
    record.steps.flatMap((step) => (step.in?.[name] === undefined ? [] : [printable(step.in[name])]));
  return {
    id: record.id,
    time: record.time,
    remoteIp: inputs("remoteSmtpIp")[0] ?? "",
    mailFrom: inputs("mailFrom")[0] ?? "",
    rcptTo: inputs("rcptTo"),
    before,
    after,
  };
}
