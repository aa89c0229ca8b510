/**
 * Aliases, lists and catch-all at delivery: a local recipient becomes the addresses it stands for, local or not.
 * Invariants: chains are followed at most `maxDepth` deep and each address is delivered to once; the recipient's result
 * is the worst of its targets' results, so it is tried again while any target is deferred (those reached before get a
 * second copy then, as RFC 5321 §4.5.4.1 allows). Failure: 5.1.1 for an address that does not exist, 5.4.6 for a loop.
 */
import { type Outcome, outcome } from "../message/outcome.ts";
import type { DeliveryResult, QueuedRecipient } from "../queue/types.ts";

const maxDepth = 10;

export type Resolve = (address: string) => readonly string[] | Promise<readonly string[]>;

export interface Expansion {
  /** What to deliver to. */
  targets: QueuedRecipient[];
  /** The recipient each target came from. */
  origins: Map<QueuedRecipient, QueuedRecipient>;
  /** Recipients that are done already: unknown, or looping. */
  settled: DeliveryResult[];
}

export async function expandLocal(
  recipients: readonly QueuedRecipient[],
  isLocal: (recipient: QueuedRecipient) => boolean,
  resolve: Resolve,
): Promise<Expansion> {
  const expansion: Expansion = { targets: [], origins: new Map(), settled: [] };
  for (const recipient of recipients) {
    if (!isLocal(recipient)) {
      expansion.targets.push(recipient);
      expansion.origins.set(recipient, recipient);
      continue;
    }
    const found = await follow(recipient, isLocal, resolve);
    if ("code" in found)
      expansion.settled.push({ recipient, outcome: found, destination: "directory", kind: "failed" });
    else {
      for (const address of found) {
        const target = address === recipient.address ? recipient : { ...recipient, address };
        expansion.targets.push(target);
        expansion.origins.set(target, recipient);
      }
    }
  }
  return expansion;
}

async function follow(
  recipient: QueuedRecipient,
  isLocal: (recipient: QueuedRecipient) => boolean,
  resolve: Resolve,
): Promise<string[] | Outcome> {
  const ends = new Set<string>();
  const seen = new Set<string>();
  let open = [recipient.address];
  for (let depth = 0; open.length > 0; depth++) {
    if (depth > maxDepth) return refuse("5.4.6", "aliases of this address loop");
    const next: string[] = [];
    for (const address of open) {
      if (seen.has(address.toLowerCase())) continue;
      seen.add(address.toLowerCase());
      if (!isLocal({ ...recipient, address })) {
        ends.add(address);
        continue;
      }
      const targets = await resolve(address);
      // An address that stands for itself, also through its subaddress, is an account.
      if (targets.some((target) => target.toLowerCase() === address.toLowerCase())) ends.add(address);
      for (const target of targets) if (target.toLowerCase() !== address.toLowerCase()) next.push(target);
    }
    open = next;
  }
  return ends.size > 0 ? [...ends] : refuse("5.1.1", "no such user here");
}

function refuse(enhanced: string, text: string): Outcome {
  return outcome.reject({ code: 550, enhanced, text, origin: "engine" });
}

const severity: Readonly<Record<DeliveryResult["kind"], number>> = {
  delivered: 0,
  relayed: 1,
  discarded: 1,
  failed: 2,
  deferred: 3,
};

/** One result for each recipient: that of its worst target. */
export function mergeTargets(
  results: readonly DeliveryResult[],
  origins: ReadonlyMap<QueuedRecipient, QueuedRecipient>,
): DeliveryResult[] {
  const merged = new Map<QueuedRecipient, DeliveryResult>();
  for (const result of results) {
    const recipient = origins.get(result.recipient) ?? result.recipient;
    const before = merged.get(recipient);
    if (!before || severity[result.kind] > severity[before.kind]) merged.set(recipient, { ...result, recipient });
  }
  return [...merged.values()];
}
