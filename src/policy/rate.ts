/** The limit of a `rate` test, e.g. "100/1h": so many hits in a sliding window. Pure. */

export interface Rate {
  count: number;
  windowMs: number;
}

const unitMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Undefined when the text is not `count/[number]s|m|h|d`, or longer than 31 days. */
export function parseRate(text: string): Rate | undefined {
  const found = /^\s*(\d{1,9})\s*\/\s*(\d{0,6})\s*([smhd])\s*$/i.exec(text);
  if (!found) return undefined;
  const windowMs = (found[2] ? Number(found[2]) : 1) * unitMs[found[3]!.toLowerCase()]!;
  return windowMs > 0 && windowMs <= 31 * unitMs.d! ? { count: Number(found[1]), windowMs } : undefined;
}
