/**
 * Aliases, lists, catch-all and our own SRS addresses: a queued recipient becomes the addresses it stands for, each a
 * recipient of its own, so that each is retried, reported on and shown by itself.
 * Invariants: chains are followed at most `maxDepth` deep; an address is a recipient of a message once, however many
 * aliases lead to it; expanding twice changes nothing, so a crash between expansion and delivery costs nothing.
 * Failure: the recipient fails with 5.1.1 when the address does not exist, 5.4.6 for a loop, 5.2.4 beyond the budget's
 * `expandedRecipients`. A directory that can't be asked rejects, and the message waits.
 */
import type { Budget } from "../config/budget.ts";
import { domainOf } from "../message/envelope.ts";
import { type Outcome, outcome } from "../message/outcome.ts";
import { isPending } from "../queue/settlement.ts";
import type { QueuedMessage, QueuedRecipient } from "../queue/types.ts";

export interface Names {
  isLocal(domain: string): boolean;
  /** A back end of its own serves the address (docs/reference/routing.md, "Front-end nodes"). */
  hasBackEnd(address: string): boolean | Promise<boolean>;
  /** What a local address stands for: itself for an account, [] when it does not exist. */
  resolve(address: string): readonly string[] | Promise<readonly string[]>;
  /** Whom a bounce to an SRS address of ours is for; undefined for all other addresses. */
  reverse(address: string): string | undefined;
}

const maxDepth = 10;

/** Undefined when no recipient is ours to expand. */
export function expandRecipients(
  message: QueuedMessage,
  names: Names,
  budget: Pick<Budget, "expandedRecipients">,
): Promise<void> | undefined {
  return message.recipients.some((recipient) => isOurs(recipient, names)) ? expand(message, names, budget) : undefined;
}

/** A route set by policy or by an administrator is obeyed as it stands. */
function isOurs(recipient: QueuedRecipient, names: Names): boolean {
  if (!isPending(recipient) || recipient.route !== undefined) return false;
  return isServed(recipient.address, names) || names.reverse(recipient.address) !== undefined;
}

/** RFC 5321 §4.5.1: "postmaster" without a domain is ours. */
function isServed(address: string, names: Names): boolean {
  return names.isLocal(domainOf(address)) || address.toLowerCase() === "postmaster";
}

async function expand(message: QueuedMessage, names: Names, budget: Pick<Budget, "expandedRecipients">): Promise<void> {
  const known = new Set(message.recipients.map((recipient) => recipient.address.toLowerCase()));
  const kept: QueuedRecipient[] = [];
  for (const recipient of message.recipients) {
    const found = isOurs(recipient, names) ? await follow(recipient.address, names) : [recipient.address];
    if ("code" in found) {
      fail(recipient, found);
      kept.push(recipient);
      continue;
    }
    const added = found.filter((address) => !known.has(address.toLowerCase()));
    if (added.length > 0 && known.size + added.length > budget.expandedRecipients) {
      fail(recipient, refuse("5.2.4", "this address stands for too many others"));
      kept.push(recipient);
      continue;
    }
    if (found.includes(recipient.address)) kept.push(recipient);
    for (const address of added) {
      known.add(address.toLowerCase());
      // RFC 3461 §5.2.7.1: the forwarded recipient keeps NOTIFY, and ORCPT names whom the sender wrote to.
      kept.push({ ...recipient, address, orcpt: recipient.orcpt ?? `rfc822;${recipient.address}` });
    }
  }
  for (const [index, recipient] of kept.entries()) recipient.index = index;
  message.recipients = kept;
  message.envelope.rcptTo = [...kept];
}

/** The ends of all chains that begin at an address. */
async function follow(start: string, names: Names): Promise<string[] | Outcome> {
  const ends = new Set<string>();
  const seen = new Set<string>();
  let open = [start];
  for (let depth = 0; open.length > 0; depth++) {
    if (depth > maxDepth) return refuse("5.4.6", "aliases of this address loop");
    const next: string[] = [];
    for (const address of open) {
      const lower = address.toLowerCase();
      if (seen.has(lower)) continue;
      seen.add(lower);
      const original = names.reverse(address);
      if (original !== undefined) ends.add(original);
      else if (!isServed(address, names) || (await names.hasBackEnd(address))) ends.add(address);
      else {
        for (const target of await names.resolve(address)) {
          // An address that stands for itself is an account.
          if (target.toLowerCase() === lower) ends.add(address);
          else next.push(target);
        }
      }
    }
    open = next;
  }
  return ends.size > 0 ? [...ends] : refuse("5.1.1", "no such user here");
}

function fail(recipient: QueuedRecipient, why: Outcome): void {
  recipient.state = "failed";
  recipient.lastOutcome = why;
}

function refuse(enhanced: string, text: string): Outcome {
  return outcome.reject({ code: 550, enhanced, text, origin: "directory" });
}
