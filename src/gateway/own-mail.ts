/** Mail that the gateway itself writes to others: straight into the queue, no filters, no reports about it. */
import type { Spool } from "../queue/types.ts";

export interface OwnMail {
  from: string;
  to: string;
  /** Whole message, CRLF lines, 7 bits. */
  text: Buffer;
  hostName: string;
  /** Stands in the log in the place of a session. */
  sessionId: string;
}

/** Resolves when the message is on disk; rejects when the queue can't take it. */
export function queueOwnMail(spool: Spool, { from, hostName, sessionId, text, to }: OwnMail): Promise<string> {
  return spool.commit(spool.openBody(text), {
    envelope: {
      mailFrom: from,
      rcptTo: [{ address: to, notify: ["NEVER"] }],
      declaredSize: text.length,
      body: "7BIT",
      smtpUtf8: false,
      requireTls: false,
    },
    client: {
      remoteIp: "127.0.0.1",
      remotePort: 0,
      localIp: "127.0.0.1",
      localPort: 0,
      ehlo: hostName,
      esmtp: true,
      tls: "",
      authUser: "",
      protocol: "LOCAL",
      sessionId,
    },
    exports: {},
    marks: { report: true },
    runFilters: false,
  });
}
