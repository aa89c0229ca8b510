/**
 * Plays the cases of a question until one shows what was asked for, or none is left. A session that is found was
 * written to its file form, read back and played again before it is believed: what is reported is what
 * `postern explain` shows.
 */
import type { Budget } from "../../config/budget.ts";
import type { Policy } from "../../policy/compile.ts";
import { play } from "../play/play.ts";
import type { Played } from "../play/played.ts";
import { type PlaySession, readSession } from "../play/session.ts";
import { RuleTrace } from "../play/trace.ts";
import { cases, combinations, Decided, type Dimension } from "./cases.ts";
import { dimensionsOf, sessionOf, type Terms } from "./dimensions.ts";
import type { Reading } from "./reading.ts";

/** Cases that are looked at for each that may be played: most are decided by others. */
export const casesLooked = 50;

/** The policy in question and the means to play it. */
export interface Subject {
  policy: Policy;
  source: string;
  folder: string;
  budget: Budget;
}

export interface Found {
  session: PlaySession;
  /** What distinguishes the session from an ordinary one. */
  because: string[];
  /** What the session shows. */
  shows: string;
}

export interface Answer {
  found?: Found;
  /** Cases decided, and the sessions played for that. */
  cases: number;
  plays: number;
  /** Why "not found" is no proof; empty when it is one. */
  gap: string;
}

/** Says what the session shows of what is looked for; undefined when it doesn't. */
export type Wanted<T extends RuleTrace = RuleTrace> = (
  session: PlaySession,
  played: Played,
  trace: T,
) => string | undefined;

export function search(subject: Subject, reading: Reading, terms: Terms, wanted: Wanted): Promise<Answer> {
  return searchTraced(subject, reading, terms, wanted, () => new RuleTrace(subject.source));
}

/** The same with a trace of the caller's own. */
export async function searchTraced<T extends RuleTrace>(
  subject: Subject,
  reading: Reading,
  terms: Terms,
  wanted: Wanted<T>,
  traced: () => T,
): Promise<Answer> {
  const { policy, folder, budget } = subject;
  const playCase = async (session: PlaySession): Promise<{ shows: string | undefined; played: Played }> => {
    const trace = traced();
    const played = await play(policy, session, undefined, trace, folder, terms.heedless);
    return { shows: wanted(session, played, trace), played };
  };
  const dimensions = dimensionsOf(reading, terms);
  const decided = new Decided(dimensions);
  let tried = 0;
  let plays = 0;
  for (const chosen of cases(dimensions)) {
    if (plays === budget.proveCases || tried === budget.proveCases * casesLooked) break;
    tried++;
    if (decided.has(chosen)) continue;
    plays++;
    const session = sessionOf(dimensions, chosen);
    const { shows, played } = await playCase(session);
    decided.add(chosen, played);
    if (shows === undefined) continue;
    const file = readSession(JSON.parse(JSON.stringify(fileOf(session))));
    const again = (await playCase(file)).shows;
    if (again === undefined) throw new Error(`a session does not replay: ${JSON.stringify(fileOf(session))}`);
    return {
      found: { session: file, because: labels(dimensions, chosen), shows: again },
      cases: tried,
      plays,
      gap: "",
    };
  }
  const total = combinations(dimensions);
  const gap = total > tried ? `${total} cases are too many: ${tried} were tried` : (reading.gaps[0] ?? "");
  return { cases: tried, plays, gap };
}

/** The words for what is not as in the base case. */
export function labels(dimensions: readonly Dimension[], chosen: readonly number[]): string[] {
  return dimensions.flatMap(({ values }, i) => (chosen[i] === 0 ? [] : [values[chosen[i]!]!.label]));
}

/** A session as its file: what `postern explain --session` reads. */
export function fileOf(session: PlaySession): Record<string, unknown> {
  const { lists, ...rest } = session;
  return { ...rest, ...(Object.keys(lists).length > 0 ? { lists } : {}) };
}
