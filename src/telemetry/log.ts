/**
 * The gateway's log: pino, one line per event, with module, session id and queue id as fields.
 * Level bits of smtpfilters.md §12.6 map to pino levels: 1 critical → fatal, 2 error, 4 warning → warn,
 * 8 information → info, 16 protocol → debug. Pretty on a terminal, JSON otherwise.
 * Invariants: values from the network go in as fields or through `printable`, never as raw text of a line.
 */
import { type Logger, pino } from "pino";

export type { Logger } from "pino";

export type LogModule =
  | "GATEWAY"
  | "SMTP-IN"
  | "SMTP-OUT"
  | "PROCESSING"
  | "QUEUE"
  | "STORE"
  | "DNR"
  | "FILTERS"
  | "SECURITY"
  | "CLI";

const levelByBit: ReadonlyArray<readonly [number, "fatal" | "error" | "warn" | "info" | "debug"]> = [
  [16, "debug"],
  [8, "info"],
  [4, "warn"],
  [2, "error"],
  [1, "fatal"],
];

/** pino level for a level bit set (0–31): the most talkative bit that is set. */
export function levelFromBits(bits: number): string {
  for (const [bit, level] of levelByBit) if (bits & bit) return level;
  return "silent";
}

export function createLogger(options: { bits: number; pretty: boolean; destination?: number }): Logger {
  const base = { level: levelFromBits(options.bits), base: { pid: process.pid } };
  if (options.pretty) {
    const transport = pino.transport({
      target: "pino-pretty",
      options: { ignore: "pid,hostname", translateTime: "HH:MM:ss.l", destination: options.destination ?? 1 },
    });
    return pino(base, transport);
  }
  return pino(base, pino.destination({ fd: options.destination ?? 1, sync: false }));
}

/** Child logger of one module. */
export function moduleLogger(root: Logger, module: LogModule): Logger {
  return root.child({ module });
}
