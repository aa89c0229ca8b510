/**
 * All combinations of the values of some dimensions, those nearest to the base first: no deviation, one, two… What is
 * found first is thus the simplest example there is.
 */
import type { Played } from "../play/played.ts";
import type { PlaySession } from "../play/session.ts";

/** One thing that can differ between sessions. Its first value is the base. */
export interface Dimension {
  name: string;
  values: readonly Value[];
  /** Did a session that was played so come to ask for it? Always, where this is left out. */
  asked?: (played: Played) => boolean;
}

export interface Value {
  /** For people: "SPF is fail". */
  label: string;
  apply(draft: Draft): void;
}

/** A session on its way; what several dimensions contribute to is put together at the end. */
export interface Draft {
  session: PlaySession;
  fields: Array<readonly [name: string, value: string]>;
  attachments: Array<{ name: string; type: string }>;
  /** List → whether each variable's value is in it. */
  members: Map<string, Map<string, boolean>>;
  /** Least size of the message, octets. */
  size: number;
}

/** Number of combinations. */
export const combinations = (dimensions: readonly Dimension[]): number =>
  dimensions.reduce((product, { values }) => product * values.length, 1);

/** Value indexes, one for each dimension. The array is the generator's own: copy what is kept. */
export function* cases(dimensions: readonly Dimension[]): Generator<readonly number[]> {
  const chosen = dimensions.map(() => 0);
  for (let deviations = 0; deviations <= dimensions.length; deviations++) {
    yield* choose(dimensions, chosen, 0, deviations);
  }
}

function* choose(
  dimensions: readonly Dimension[],
  chosen: number[],
  from: number,
  deviations: number,
): Generator<readonly number[]> {
  if (deviations === 0) {
    yield chosen;
    return;
  }
  for (let i = from; i <= dimensions.length - deviations; i++) {
    for (let value = 1; value < dimensions[i]!.values.length; value++) {
      chosen[i] = value;
      yield* choose(dimensions, chosen, i + 1, deviations - 1);
    }
    chosen[i] = 0;
  }
}

/**
 * Which cases are decided already: a session that never came to ask for some dimensions ends the same whatever their
 * values are, since evaluation is a function of what it asked for.
 */
export class Decided {
  private readonly dimensions: readonly Dimension[];
  /** By the dimensions asked for (their indexes), the values that were played. */
  private readonly byAsked = new Map<string, { asked: readonly number[]; values: Set<string> }>();

  constructor(dimensions: readonly Dimension[]) {
    this.dimensions = dimensions;
  }

  has(chosen: readonly number[]): boolean {
    for (const { asked, values } of this.byAsked.values()) if (values.has(keyOf(asked, chosen))) return true;
    return false;
  }

  /** `played`: the session that stands for the case, against each policy in question. */
  add(chosen: readonly number[], ...played: readonly Played[]): void {
    const asked = this.dimensions.flatMap(({ asked: by }, i) => (!by || played.some(by) ? [i] : []));
    if (asked.length === this.dimensions.length) return;
    const id = asked.join();
    const known = this.byAsked.get(id) ?? { asked, values: new Set<string>() };
    known.values.add(keyOf(asked, chosen));
    this.byAsked.set(id, known);
  }
}

const keyOf = (asked: readonly number[], chosen: readonly number[]): string => asked.map((i) => chosen[i]).join();
