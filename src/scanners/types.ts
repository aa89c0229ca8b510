/**
 * Opinions about a message. A scanner answers within its time-out or fails with ScannerError; what a failure means
 * (accept, tempfail, reject, wait in queue) is declared in configuration and applied by the caller.
 */

export interface ScanInput {
  /** Whole message with CRLF line ends. */
  bytes: () => AsyncIterable<Uint8Array>;
  size: number;
  mailFrom: string;
  rcptTo: readonly string[];
  remoteIp: string;
  remotePort?: number;
  remoteHost: string;
  ehlo: string;
  authUser: string;
  queueId: string;
}

export interface ScanVerdict {
  scanner: string;
  /** Virus name or rule; "" when clean. */
  virus: string;
  /** Spam score and threshold, when the scanner scores. */
  score?: number;
  threshold?: number;
  symbols: string[];
  /** Asked-for action, when the scanner says one. */
  action?: "accept" | "reject" | "tmpreject" | "discard" | "quarantine" | "add header" | "rewrite subject";
  message?: string;
  /** Milliseconds it took. */
  elapsed: number;
}

export interface Scanner {
  readonly name: string;
  scan(input: ScanInput): Promise<ScanVerdict>;
  /** Cheap liveness probe. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

export class ScannerError extends Error {
  readonly kind: "timeout" | "connect" | "protocol" | "limit" | "closed";
  constructor(kind: ScannerError["kind"], message: string) {
    super(message);
    this.name = "ScannerError";
    this.kind = kind;
  }
}
