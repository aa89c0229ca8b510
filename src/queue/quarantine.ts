/**
 * Release from the quarantine: the message goes back into the queue, past the filters that put it there.
 * Invariants: it is durable in the queue before it leaves the quarantine. Failure: rejects with QueueError or the
 * store's error; then it is still in the quarantine.
 */
import { quarantineAccount, type Store } from "../store/types.ts";
import type { ScheduledSpool } from "./types.ts";

/** Answers the new queue id; undefined when there is no such message or nobody it was for is known. */
export async function releaseQuarantined(
  spool: ScheduledSpool,
  store: Store,
  folder: string,
  uid: number,
): Promise<string | undefined> {
  const entry = (await store.list(quarantineAccount, folder)).find((message) => message.uid === uid);
  const chunks = await store.read(quarantineAccount, folder, uid);
  if (entry?.rcptTo === undefined || entry.rcptTo.length === 0 || chunks === undefined) return undefined;
  const body = spool.openBody(new Uint8Array());
  let eightBit = false;
  for await (const chunk of chunks) {
    eightBit ||= chunk.some((octet) => octet >= 0x80);
    await body.write(chunk);
  }
  const mailFrom = entry.mailFrom ?? "";
  const id = await spool.commit(body, {
    envelope: {
      mailFrom,
      rcptTo: entry.rcptTo.map((address) => ({ address })),
      declaredSize: entry.size,
      body: eightBit ? "8BITMIME" : "7BIT",
      smtpUtf8: [mailFrom, ...entry.rcptTo].some((address) => /[^\x00-\x7f]/.test(address)),
      requireTls: false,
    },
    client: {
      remoteIp: "127.0.0.1",
      remotePort: 0,
      localIp: "127.0.0.1",
      localPort: 0,
      ehlo: "",
      esmtp: false,
      tls: "",
      authUser: "",
      protocol: "LOCAL",
      sessionId: `quarantine-${entry.queueId}`,
    },
    exports: {},
    marks: { releasedFromQuarantine: entry.queueId },
    runFilters: false,
  });
  await store.remove(quarantineAccount, folder, uid);
  return id;
}
