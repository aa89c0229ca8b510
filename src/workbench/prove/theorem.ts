/** What a theorem is, what it answers, and how a question is put to a policy. */
import type { IpRange } from "../../language/ipset.ts";
import { type Criterion, sliceOf } from "../../language/prove/slice.ts";
import { slotOf } from "../../policy/slots.ts";
import type { Played, PlayedReply } from "../play/played.ts";
import type { PlaySession } from "../play/session.ts";
import type { Terms } from "./dimensions.ts";
import { emptyReading, type Reading, read } from "./reading.ts";
import { type Answer, type Subject, search, type Wanted } from "./search.ts";

export type Result = "holds" | "fails" | "unknown";

export interface Finding {
  theorem: string;
  result: Result;
  /** Fails: what the session shows. Unknown: why. Holds: what it rests on. */
  reason: string;
  /** Place in the script, where the finding has one. */
  line?: number;
  /** Cases looked at. */
  cases: number;
  session?: PlaySession;
  /** How the session differs from an ordinary one. */
  because?: string[];
}

export interface Question {
  subject: Subject;
  /** Networks whose clients may relay. */
  trusted: readonly IpRange[];
}

export interface Theorem {
  id: string;
  /** One sentence. */
  says: string;
  prove(question: Question): Promise<Finding[]>;
}

/** What decides whether a message is taken. */
export const acceptance: readonly string[] = [
  "smtpAction",
  "localDelivery",
  "remoteDelivery",
  "maxRcptCount",
  "maxDataSize",
  "maxReceivedHeaders",
];

export const readingOf = (
  { subject }: Question,
  criterion: Omit<Criterion, "slots"> & { slots: readonly string[] },
): Reading => {
  const reading = emptyReading();
  const { module } = subject.policy;
  read(module, sliceOf(module, { ...criterion, slots: criterion.slots.map(slotOf) }), reading);
  return reading;
};

export const termsOf = (question: Question, more: Partial<Terms> = {}): Terms => ({
  budget: question.subject.budget,
  strangers: false,
  trusted: question.trusted,
  foreign: false,
  reports: false,
  allFail: false,
  rights: false,
  heedless: false,
  clearAuth: false,
  ...more,
});

/** The question itself asks whether the variable holds these texts, whether or not the policy does. */
export function alsoTold(reading: Reading, variable: string, texts: readonly string[]): void {
  const known = reading.tests.get(variable) ?? [];
  reading.tests.set(variable, [...known, ...texts.map((key) => ({ how: "is", fold: "octet", key }) as const)]);
}

/** Looks for a session that shows the theorem wrong. */
export async function refute(
  theorem: string,
  question: Question,
  reading: Reading,
  terms: Terms,
  wrong: Wanted,
): Promise<Finding> {
  return findingOf(theorem, await search(question.subject, reading, terms, wrong));
}

export function findingOf(theorem: string, { found, cases, gap }: Answer): Finding {
  if (found) {
    const { session, because, shows } = found;
    return { theorem, result: "fails", reason: shows, cases, session, because };
  }
  if (gap !== "") return { theorem, result: "unknown", reason: gap, cases };
  return { theorem, result: "holds", reason: cases === 1 ? "whatever a session does" : `in all ${cases} cases`, cases };
}

export const lastReply = (played: Played, verb: string): PlayedReply | undefined =>
  played.replies.filter(({ command }) => command.startsWith(verb)).at(-1);

/** Taken with a positive reply at the end of the data, and not discarded. */
export const accepted = (played: Played): boolean =>
  (lastReply(played, ".")?.code ?? 500) < 400 &&
  !played.events.some(({ action, event }) => action === "discard" && event === "onDataReceived");

/** Accepted, and nothing holds it back from its recipients. */
export function delivered(played: Played): boolean {
  const held = played.events.some(({ effects }) =>
    effects.some(({ kind }) => kind === "quarantine" || kind === "hold"),
  );
  const stopped = played.events.some(
    ({ event, action }) => event === "onProcessing" && action !== "" && action !== "accept",
  );
  return accepted(played) && !held && !stopped;
}

/** Value that a variable was last set to, by the script or by a check; undefined when nothing set it. */
export function written(played: Played, name: string): string | undefined {
  for (const { writes } of played.events.toReversed()) if (writes[name] !== undefined) return writes[name];
  return undefined;
}
