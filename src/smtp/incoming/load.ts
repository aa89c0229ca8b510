/**
 * Overload: how hard pressed this process is, in steps, and what each step means for reception.
 * 0 normal; 1 short time-outs; 2 also no new connections beyond half the limit; 3 no new mail (452), since it might
 * not be storable. Invariants: a step is taken at once and left only when the pressure has fallen below nine tenths of
 * its bound, so that the gauge doesn't flutter. Failure: a disk that can't be asked counts as full.
 */
import { type StatsFs, statfs } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";

export type LoadLevel = 0 | 1 | 2 | 3;

export interface LoadGauge {
  level(): LoadLevel;
}

export interface LoadBounds {
  /** Folder of the queue; its file system is watched. */
  queueFolder: string;
  /** Free octets on it at which level 1, 2, 3 begin. */
  diskFree: readonly [number, number, number];
  /** Resident set size, octets. */
  memory: readonly [number, number, number];
  /** 99th percentile of event loop delay over one interval, ms. */
  loopDelayMs: readonly [number, number, number];
  intervalMs: number;
}

/** Readings of one interval. */
export interface LoadReading {
  diskFree: number;
  memory: number;
  loopDelayMs: number;
}

const calm = 0.9;

function stepAbove(value: number, bounds: readonly [number, number, number], factor: number): LoadLevel {
  if (value >= bounds[2] * factor) return 3;
  if (value >= bounds[1] * factor) return 2;
  return value >= bounds[0] * factor ? 1 : 0;
}

function stepOf(reading: LoadReading, bounds: LoadBounds, factor: number): LoadLevel {
  const free = bounds.diskFree;
  const left = reading.diskFree * factor;
  const disk = left <= free[2] ? 3 : left <= free[1] ? 2 : left <= free[0] ? 1 : 0;
  const memory = stepAbove(reading.memory, bounds.memory, factor);
  const delay = stepAbove(reading.loopDelayMs, bounds.loopDelayMs, factor);
  // A slow loop alone never closes the door to mail: it can still be stored, only later.
  return Math.max(disk, memory, Math.min(delay, 2)) as LoadLevel;
}

/** The level after `reading`, coming from `previous`. Pure. */
export function nextLevel(previous: LoadLevel, reading: LoadReading, bounds: LoadBounds): LoadLevel {
  const up = stepOf(reading, bounds, 1);
  if (up >= previous) return up;
  return Math.min(previous, stepOf(reading, bounds, calm)) as LoadLevel;
}

/** Watches this process and the queue's disk; `onChange` is told every step, for the log and metrics. */
export class ProcessLoadGauge implements LoadGauge {
  private current: LoadLevel = 0;
  /** The last interval's; zeros before the first. */
  reading: LoadReading = { diskFree: 0, memory: 0, loopDelayMs: 0 };
  private readonly timer: NodeJS.Timeout;
  private readonly delay: ReturnType<typeof monitorEventLoopDelay>;
  private readonly bounds: LoadBounds;
  private readonly onChange: (level: LoadLevel, reading: LoadReading) => void;

  constructor(bounds: LoadBounds, onChange: (level: LoadLevel, reading: LoadReading) => void) {
    this.bounds = bounds;
    this.onChange = onChange;
    this.delay = monitorEventLoopDelay({ resolution: 20 });
    this.delay.enable();
    this.timer = setInterval(() => this.sample(), bounds.intervalMs);
    this.timer.unref();
  }

  level(): LoadLevel {
    return this.current;
  }

  private sample(): void {
    statfs(this.bounds.queueFolder, (error, stats) => this.take(error ? undefined : stats));
  }

  private take(stats: StatsFs | undefined): void {
    const reading: LoadReading = {
      diskFree: stats ? stats.bavail * stats.bsize : 0,
      memory: process.memoryUsage.rss(),
      loopDelayMs: this.delay.percentile(99) / 1e6,
    };
    this.delay.reset();
    this.reading = reading;
    const level = nextLevel(this.current, reading, this.bounds);
    if (level === this.current) return;
    this.current = level;
    this.onChange(level, reading);
  }

  close(): void {
    clearInterval(this.timer);
    this.delay.disable();
  }
}
