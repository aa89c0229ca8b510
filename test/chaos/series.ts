/** What a soak run watches, sample by sample, and whether it grew. */
import { readdirSync, readFileSync } from "node:fs";

export interface Sample {
  /** Seconds since the start. */
  at: number;
  /** MiB, all workers together. */
  memory: number;
  /** Open file descriptors, all workers together. */
  handles: number;
  /** The workers' 99th percentile of event-loop delay, ms; the worst of them. */
  lag: number;
  /** Lines of level error in the log so far. */
  errors: number;
}

export type Series = keyof Omit<Sample, "at">;

export const seriesNames: readonly Series[] = ["memory", "handles", "lag", "errors"];

/** Memory and handles of processes; one that has just ended counts nothing. */
export function usage(pids: readonly number[]): Pick<Sample, "memory" | "handles"> {
  let [memory, handles] = [0, 0];
  for (const pid of pids) {
    try {
      memory += Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? 0) / 1_024;
      handles += readdirSync(`/proc/${pid}/fd`).length;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  return { memory, handles };
}

/** The last quarter's median over the second quarter's: the first is warming up. */
export function growth(samples: readonly Sample[], name: Series): number {
  const quarter = Math.floor(samples.length / 4);
  const before = median(samples.slice(quarter, 2 * quarter).map((sample) => sample[name]));
  return before === 0 ? 1 : median(samples.slice(-quarter).map((sample) => sample[name])) / before;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}

/** The series as four strips of an SVG drawing over one axis of time. */
export function drawing(samples: readonly Sample[], title: string): string {
  const [width, height, left, top] = [800, 110, 90, 40];
  const end = samples.at(-1)?.at || 1;
  const units: Record<Series, string> = {
    memory: "memory, MiB",
    handles: "handles",
    lag: "loop lag p99, ms",
    errors: "errors",
  };
  const strips = seriesNames.map((name, index) => {
    const y = top + index * (height + 20);
    const most = Math.max(1, ...samples.map((sample) => sample[name]));
    const points = samples.map((sample) => {
      const x = left + (sample.at / end) * (width - left - 10);
      return `${x.toFixed(1)},${(y + height - (sample[name] / most) * height).toFixed(1)}`;
    });
    return [
      `<text x="4" y="${y + 12}">${units[name]}</text><text x="4" y="${y + 28}">${most.toFixed(0)}</text>`,
      `<path d="M${left} ${y}V${y + height}H${width - 10}" fill="none" stroke="#999"/>`,
      `<polyline points="${points.join(" ")}" fill="none" stroke="#06c"/>`,
    ].join("\n");
  });
  const total = top + seriesNames.length * (height + 20) + 10;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${total}" font-family="sans-serif" font-size="11">`,
    `<title>${title}</title>`,
    `<rect width="100%" height="100%" fill="#fff"/><text x="4" y="18" font-size="14">${title}</text>`,
    ...strips,
    `<text x="${width - 90}" y="${total - 2}">${(end / 60).toFixed(1)} minutes</text>`,
    "</svg>\n",
  ].join("\n");
}
