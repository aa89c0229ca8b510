/**
 * Greylisting (smtpfilters.md §7.6, RFC 6647): an unknown triplet of client network, sender and recipient is asked to
 * come back. Invariants: clients count by /24 or /64, since senders retry from neighbours; authenticated clients pass;
 * a client network with enough passes passes at once. State survives restarts with the SharedState that holds it.
 * Failure: when the state does not answer, mail passes and `failed` says so.
 */
import type { SharedState } from "../state/types.ts";
import { networkKey, parseAddress } from "./address.ts";

export interface GreylistOptions {
  /** Shortest time before the second try counts, ms. */
  delayMs: number;
  /** Time in which the second try must come, counted from the first, ms. */
  windowMs: number;
  /** How long a triplet that passed is remembered after its last message, ms. */
  lifetimeMs: number;
  /** Passes after which a client network is trusted; 0 never. */
  autoWhitelist: number;
}

export interface GreylistInput {
  ip: string;
  mailFrom: string;
  rcptTo: string;
  authUser: string;
  /** Configured exemption (lists, SPF pass): the triplet is not looked at. */
  exempt?: boolean;
}

export interface GreylistResult {
  result: "pass" | "defer";
  reason:
    | "exempt"
    | "authenticated"
    | "trusted client"
    | "known"
    | "came back"
    | "first seen"
    | "too early"
    | "no state";
  /** ms to wait before the next try can pass. */
  waitMs: number;
}

export const greylistDefaults: GreylistOptions = {
  delayMs: 1_000,
  windowMs: 600_000,
  lifetimeMs: 36 * 86_400_000,
  autoWhitelist: 5,
};

const waiting = "greylist.waiting";
const known = "greylist.known";
const clients = "greylist.client";

/** Key length is bounded: addresses are at most 320 octets each by SMTP. */
function keys(input: GreylistInput): { client: string; triplet: string } {
  const address = parseAddress(input.ip);
  const client = address === undefined ? input.ip : networkKey(address, address.family === 4 ? 24 : 64);
  const triplet = `${client}|${input.mailFrom.toLowerCase().slice(0, 512)}|${input.rcptTo.toLowerCase().slice(0, 512)}`;
  return { client, triplet };
}

export async function checkGreylist(
  input: GreylistInput,
  options: GreylistOptions,
  state: SharedState,
  now: number,
): Promise<GreylistResult> {
  if (input.authUser !== "") return { result: "pass", reason: "authenticated", waitMs: 0 };
  if (input.exempt === true) return { result: "pass", reason: "exempt", waitMs: 0 };
  try {
    return await decide(keys(input), options, state, now);
  } catch {
    // The database's error is logged by its owner; a lost memory must not stop mail.
    return { result: "pass", reason: "no state", waitMs: 0 };
  }
}

async function decide(
  { client, triplet }: { client: string; triplet: string },
  options: GreylistOptions,
  state: SharedState,
  now: number,
): Promise<GreylistResult> {
  if (options.autoWhitelist > 0) {
    const passes = Number((await state.get(clients, client)) ?? 0);
    if (passes >= options.autoWhitelist) {
      await state.set(clients, client, String(passes), options.lifetimeMs);
      return { result: "pass", reason: "trusted client", waitMs: 0 };
    }
  }
  if ((await state.get(known, triplet)) !== undefined) {
    await remember(client, triplet, options, state);
    return { result: "pass", reason: "known", waitMs: 0 };
  }
  if (await state.add(waiting, triplet, String(now), options.windowMs)) {
    return { result: "defer", reason: "first seen", waitMs: options.delayMs };
  }
  // Between `add` and `get` the wait may have run out: then this is a first sight again.
  const first = Number((await state.get(waiting, triplet)) ?? now);
  const waitMs = first + options.delayMs - now;
  if (waitMs > 0) return { result: "defer", reason: "too early", waitMs };
  await state.delete(waiting, triplet);
  await remember(client, triplet, options, state);
  return { result: "pass", reason: "came back", waitMs: 0 };
}

async function remember(client: string, triplet: string, options: GreylistOptions, state: SharedState): Promise<void> {
  await state.set(known, triplet, "1", options.lifetimeMs);
  if (options.autoWhitelist === 0) return;
  const passes = Number((await state.get(clients, client)) ?? 0) + 1;
  await state.set(clients, client, String(passes), options.lifetimeMs);
}
