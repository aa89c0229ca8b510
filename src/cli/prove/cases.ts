/**
 * All combinations of the values of some dimensions, those nearest to the base first: no deviation, one, two… What is
 * found first is thus the simplest example there is.
 */
import type { PlaySession } from "../play/session.ts";

/** One thing that can differ between sessions. Its first value is the base. */
export interface Dimension {
  name: string;
  values: readonly Value[];
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
