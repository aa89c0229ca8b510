/** What the queue's tests share: a scratch folder, a silent log, messages, and a file layer that fails on demand. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { pino } from "pino";
import { type BudgetField, budgetWith } from "../../../src/config/budget.ts";
import { diskFiles, type FileLayer } from "../../../src/queue/files.ts";
import { openSpool, type SpoolOptions } from "../../../src/queue/spool.ts";
import type { NewMessage, Spool } from "../../../src/queue/types.ts";

export const silent = pino({ level: "silent" });

export function scratch(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "postern-queue-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export function open(
  dir: string,
  limits: Partial<Record<BudgetField, number>> = {},
  more: Partial<SpoolOptions> = {},
): ReturnType<typeof openSpool> {
  return openSpool({ dir, shard: 0, budget: budgetWith(limits), log: silent, ...more });
}

export function newMessage(mailFrom = "alice@sender.example", rcptTo = ["bob@example.org"]): NewMessage {
  return {
    envelope: {
      mailFrom,
      rcptTo: rcptTo.map((address) => ({ address })),
      declaredSize: 0,
      body: "7BIT",
      smtpUtf8: false,
      requireTls: false,
    },
    client: {
      remoteIp: "192.0.2.1",
      remotePort: 4000,
      localIp: "192.0.2.2",
      localPort: 25,
      ehlo: "client.example",
      esmtp: true,
      tls: "",
      authUser: "",
      protocol: "ESMTP",
      sessionId: "s1",
    },
    exports: {},
    marks: {},
    runFilters: false,
  };
}

export async function put(spool: Spool, text: string, message = newMessage()): Promise<string> {
  const body = spool.openBody(Buffer.from("Received: by test\r\n"));
  await body.write(Buffer.from(text));
  return spool.commit(body, message);
}

export async function textOf(spool: Spool, id: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of (await spool.body(id)).stream()) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** The real files, until `fail` says otherwise: it answers an error code for an operation, or undefined. */
export function failingFiles(fail: (operation: keyof FileLayer) => string | undefined): FileLayer {
  return new Proxy(diskFiles, {
    get(target, name: keyof FileLayer) {
      return (...args: unknown[]) => {
        const code = fail(name);
        if (code !== undefined) return Promise.reject(Object.assign(new Error(code), { code }));
        return (target[name] as (...args: unknown[]) => Promise<unknown>)(...args);
      };
    },
  });
}
