/** Messages, bodies, a DNS and a store in memory for the delivery tests. */
import { budgetWith } from "../../../src/config/budget.ts";
import { createDeliverer, type DelivererOptions } from "../../../src/delivery/deliverer.ts";
import { type DnsAnswer, DnsError, type RecordData, type RecordType, type Resolver } from "../../../src/dns/types.ts";
import type { Envelope, Recipient } from "../../../src/message/envelope.ts";
import type { BodySource, QueuedMessage } from "../../../src/queue/types.ts";
import type { Store, StoreDelivery } from "../../../src/store/types.ts";

export const sample = "From: a@x.example\r\nTo: b@y.example\r\nSubject: hello\r\n\r\nbody\r\n.dot\r\n";

export function bodyOf(text: string | Buffer, chunk = 0): BodySource {
  const bytes = Buffer.from(text);
  return {
    size: bytes.length,
    inMemory: () => (chunk === 0 ? bytes : undefined),
    async *stream() {
      const step = chunk || bytes.length;
      for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step);
    },
  };
}

export function messageTo(recipients: Array<string | Recipient>, envelope: Partial<Envelope> = {}): QueuedMessage {
  const rcptTo = recipients.map((one) => (typeof one === "string" ? { address: one } : one));
  return {
    id: "0000A1",
    envelope: {
      mailFrom: "a@x.example",
      rcptTo,
      declaredSize: 0,
      body: "7BIT",
      smtpUtf8: false,
      requireTls: false,
      ...envelope,
    },
    client: {
      remoteIp: "127.0.0.1",
      remotePort: 1,
      localIp: "127.0.0.1",
      localPort: 25,
      ehlo: "client.test",
      esmtp: true,
      tls: "",
      authUser: "",
      protocol: "ESMTP",
      sessionId: "S1",
    },
    exports: {},
    marks: {},
    runFilters: true,
    state: "sending",
    recipients: rcptTo.map((recipient, index) => ({ ...recipient, index, state: "processed", attempts: 0 })),
    receivedAt: 1_700_000_000_000,
    size: sample.length,
    attempts: 0,
    nextAttempt: 0,
    failure: "",
    delayNotified: false,
  };
}

type Zone = Record<string, { [T in RecordType]?: Array<RecordData[T]> } & { fails?: boolean; insecure?: boolean }>;

/** Answers from a table; names absent do not exist; `fails` makes every look-up of a name a SERVFAIL. */
export function resolverOf(zone: Zone): Resolver {
  return {
    async resolve<T extends RecordType>(name: string, type: T): Promise<DnsAnswer<T>> {
      const entry = zone[name.toLowerCase()];
      if (entry?.fails) throw new DnsError("servfail", `SERVFAIL for ${name}`);
      const records = (entry?.[type] ?? []) as Array<RecordData[T]>;
      const authenticated = entry !== undefined && entry.insecure === false;
      return { records, nxdomain: entry === undefined, authenticated, ttl: 60, canonicalName: name };
    },
    close() {},
  };
}

export interface MemoryStore extends Store {
  stored: Array<{ body: string; targets: StoreDelivery[] }>;
}

export function memoryStore(fail?: (target: StoreDelivery) => Error | undefined): MemoryStore {
  const stored: MemoryStore["stored"] = [];
  const absent = async (): Promise<never> => {
    throw new Error("not part of these tests");
  };
  return {
    stored,
    async deliver(body, _meta, targets) {
      for (const target of targets) {
        const error = fail?.(target);
        if (error) throw error;
      }
      const parts: Uint8Array[] = [];
      if (body instanceof Uint8Array) parts.push(body);
      else for await (const part of body) parts.push(part);
      stored.push({ body: Buffer.concat(parts).toString("latin1"), targets });
    },
    list: absent,
    accounts: absent,
    mailboxes: absent,
    read: absent,
    remove: absent,
    close: async () => {},
  };
}

export function delivererWith(options: Partial<DelivererOptions> = {}) {
  return createDeliverer({
    hostName: "gw.test",
    resolver: resolverOf({}),
    store: memoryStore(),
    budget: budgetWith(),
    isLocal: (domain) => domain === "local.example",
    ...options,
  });
}
