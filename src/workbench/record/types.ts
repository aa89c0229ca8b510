/**
 * One decision as it is kept on disk: what the client said, what the network answered, what policy made of it. It holds
 * all that a program reads, so that another program can be asked the same later. Plain JSON data, names are short because
 * there are many of them. Invariants: inputs that follow from others (domain and local part of an address) or that have
 * their default are left out; nothing here is an object of the house.
 */
import type { EventName, EventResult, PolicyEffect } from "../../policy/types.ts";

/**
 * What the network, a list or the message answered: method, the inputs it was asked with, its answer (null: it failed),
 * how long it took in milliseconds, and where the answer came from (absent when that goes without saying). Beside predefined methods there are "rate" [key, limit], "inList" [list, value],
 * "header" [name] and "strings" [variable].
 */
export type Fact = readonly [
  name: string,
  inputs: readonly string[],
  answer: Readonly<Record<string, string>> | readonly string[] | null,
  ms: number,
  from?: readonly string[],
];

export interface Step {
  event: EventName;
  /** Variables that the engine set since the step before. */
  in?: Record<string, string>;
  action?: EventResult["action"];
  text?: string;
  /** Rule and line that set the action. */
  by?: string;
  effects?: readonly PolicyEffect[];
  /** At onRcptTo: this client may relay to this recipient by the configuration alone. */
  trusted?: true;
  /** The reply that policy or engine gave, when it was not the usual one: code, enhanced code, who. */
  reply?: readonly [code: number, enhanced: string, origin: string];
}

export type Verdict = "accept" | "reject" | "tmpreject" | "discard" | "quarantine" | "hold";

/** What became of a transaction. */
export interface Decision {
  verdict: Verdict;
  /** Event that decided. */
  at: EventName;
  code: number;
  text: string;
  /** Rule and line, or "engine". */
  by: string;
  /** One letter a recipient, in order: a accepted, d discarded, r refused, t refused for now. */
  recipients: string;
  /** What a later event chose beside its verdict: the route, the report, the actions of a Sieve script. */
  effect?: string;
}

/** An event after reception, in a session of its own. */
export interface Later {
  context: "smtpProc" | "smtpOut" | "sieve";
  /** Id of the decision that let the message in; "" when that was not recorded. */
  of: string;
  queueId: string;
  /** Variables that the message brought along. */
  exports: Readonly<Record<string, string>>;
}

export interface DecisionRecord {
  id: string;
  /** Milliseconds since the epoch. */
  time: number;
  /** From the first octet of the transaction to its end, ms. */
  ms: number;
  /** Hash of the program that decided. */
  policy: string;
  session: string;
  steps: Step[];
  facts: Fact[];
  /** Header section, octets as latin1; or its SHA-256. */
  header?: string;
  headerHash?: string;
  /** Octets of the message; absent when none came to its end. */
  size?: number;
  /** A limit cut the record: it can't be decided again in full. */
  cut?: true;
  /** Set when this is not the reception of a message. */
  later?: Later;
  /** Whom it is about. Never written: redaction looks for them in texts that a policy made. */
  people?: { mailFrom: string; rcptTo: readonly string[] };
  decision: Decision;
}
