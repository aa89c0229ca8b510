/** A spool, shared state and a message in memory, and a processor over them. */
import pino from "pino";
import { budgetWith } from "../../../src/config/budget.ts";
import type { Filter } from "../../../src/processing/filter.ts";
import { createProcessor } from "../../../src/processing/processor.ts";
import { memoryBody } from "../../../src/queue/body.ts";
import type { BodySource, BodyWriter, NewMessage, QueuedMessage } from "../../../src/queue/types.ts";

export const budget = budgetWith();
export const log = pino({ level: "silent" });

export class MemoryWriter implements BodyWriter {
  readonly chunks: Buffer[] = [];
  aborted = false;
  constructor(prefix: Uint8Array) {
    this.chunks.push(Buffer.from(prefix));
  }
  write(chunk: Uint8Array): undefined {
    this.chunks.push(Buffer.from(chunk));
  }
  get size(): number {
    return this.text.length;
  }
  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }
  async content(): Promise<BodySource> {
    return memoryBody(Buffer.concat(this.chunks));
  }
  abort(): void {
    this.aborted = true;
  }
}

/** A spool, a state and a processor over `filters`. */
export function house(...filters: Filter[]) {
  const committed: Array<{ text: string; message: NewMessage }> = [];
  const keys = new Map<string, string>();
  const state = {
    add: async (space: string, key: string, value: string) => {
      const name = `${space} ${key}`;
      if (keys.has(name)) return false;
      keys.set(name, value);
      return true;
    },
    set: async (space: string, key: string, value: string) => void keys.set(`${space} ${key}`, value),
    get: async (space: string, key: string) => keys.get(`${space} ${key}`),
  };
  const processor = createProcessor({
    spool: {
      openBody: (prefix) => new MemoryWriter(prefix),
      commit: async (body, message) => {
        committed.push({ text: (body as MemoryWriter).text, message });
        return `N${committed.length}`;
      },
    },
    filters: () => filters,
    state,
    budget,
    log,
  });
  return { processor, committed, state };
}

export const text =
  "Received: from x by y; Mon, 1 Jan 2024 00:00:00 +0000\r\nFrom: a@x.example\r\nTo: one@l.example\r\nSubject: hi\r\nMessage-ID: <m@x>\r\n\r\nbody\r\n";

export function source(content = text): BodySource {
  const bytes = Buffer.from(content);
  return {
    size: bytes.length,
    inMemory: () => bytes,
    async *stream() {
      for (let at = 0; at < bytes.length; at += 17) yield bytes.subarray(at, at + 17);
    },
  };
}

export function queued(addresses = ["one@l.example"], marks: Record<string, unknown> = {}): QueuedMessage {
  return {
    id: "0F12BE",
    envelope: {
      mailFrom: "a@x.example",
      rcptTo: addresses.map((address) => ({ address })),
      declaredSize: 0,
      body: "7BIT",
      smtpUtf8: false,
      requireTls: false,
    },
    client: {
      remoteIp: "192.0.2.1",
      remotePort: 1,
      localIp: "",
      localPort: 25,
      ehlo: "x",
      esmtp: true,
      tls: "",
      authUser: "",
      protocol: "ESMTP",
      sessionId: "s",
    },
    exports: {},
    marks,
    runFilters: true,
    state: "received",
    recipients: addresses.map((address, index) => ({ address, index, state: "received", attempts: 0 })),
    receivedAt: 0,
    size: text.length,
    attempts: 0,
    nextAttempt: 0,
    failure: "",
    delayNotified: false,
  };
}
