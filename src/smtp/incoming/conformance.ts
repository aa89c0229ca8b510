/**
 * Conformance suites of reception: address verdicts, command lines, and SMTP dialogues against real listeners.
 * Failure: a dialogue that needs another program than an SMTP server counts as skipped.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { budgetWith } from "../../config/budget.ts";
import { outcome } from "../../message/outcome.ts";
import type { Suite, SuiteResult } from "../../telemetry/suite.ts";
import { checkMailbox } from "./address.ts";
import { parseCommand } from "./commands.ts";
import { isPlayable, play } from "./dialogs.ts";
import type { SessionHandler } from "./hooks.ts";
import { selfSigned } from "./selfsigned.ts";
import { createSmtpServer } from "./server.ts";

/** Counts verdicts: `reason` undefined means passed. */
class Tally {
  readonly result: SuiteResult;

  constructor(name: string) {
    this.result = { name, passed: 0, failed: [], skipped: 0 };
  }

  add(name: string, reason: string | undefined): void {
    if (reason === undefined) this.result.passed++;
    else this.result.failed.push({ name, reason });
  }
}

async function readCases<T>(dir: string): Promise<T[]> {
  const { cases } = JSON.parse(await readFile(join(dir, "cases.json"), "utf8")) as { cases: T[] };
  return cases;
}

/** What isemail's categories mean for an SMTP mailbox; the others are policy: any verdict will do. */
function addressReason(address: string, category: string): string | undefined {
  const verdict = checkMailbox(address);
  if (category === "ISEMAIL_ERR") return verdict.ok ? "accepted, must be refused" : undefined;
  const mustPass = category === "ISEMAIL_VALID_CATEGORY" || category === "ISEMAIL_RFC5321";
  return mustPass && !verdict.ok ? `refused (${verdict.reason}), must be accepted` : undefined;
}

const address: Suite = {
  name: "address",
  async run(dir) {
    const tally = new Tally("address");
    for (const each of await readCases<{ id: string; address: string; category: string }>(dir)) {
      tally.add(`${each.id} ${JSON.stringify(each.address)}`, addressReason(each.address, each.category));
    }
    return tally.result;
  },
};

function commandReason(line: string, ok: boolean, kind: string): string | undefined {
  const command = parseCommand(line);
  if (command.verb === "invalid") {
    if (ok) return `refused: ${command.code} ${command.reason}`;
    const unknown = kind === "UnknownCommand";
    return unknown === (command.kind === "unknown") ? undefined : `refused as ${command.kind}, expected ${kind}`;
  }
  if (!ok) return `accepted, expected ${kind}`;
  return command.verb === kind.toUpperCase() ? undefined : `read as ${command.verb}, expected ${kind}`;
}

const smtpCommands: Suite = {
  name: "smtp-commands",
  async run(dir) {
    const tally = new Tally("smtp-commands");
    for (const each of await readCases<{ line: string; ok: boolean; kind: string }>(dir)) {
      tally.add(JSON.stringify(each.line), commandReason(each.line, each.ok, each.kind));
    }
    return tally.result;
  },
};

/** The site that the dialogues speak of: user@testserver, AUTH over TLS, messages of at most 1 MiB. */
function testSite(): SessionHandler {
  const yes = outcome.accept({ code: 250, enhanced: "2.0.0", text: "Mail queued for delivery", origin: "suite" });
  const noUser = outcome.reject({ code: 550, enhanced: "5.1.1", text: "User not found", origin: "suite" });
  return {
    settings: {
      greeting: "testserver ESMTP ready",
      hostName: "testserver",
      maxMessageBytes: 1024 * 1024,
      maxRecipients: 100,
      maxReceivedHeaders: 30,
      allowStartTls: true,
      allow8bitMime: true,
      allowBinary: true,
      allowPipelining: true,
      allowDsn: true,
      allowSmtpUtf8: true,
      authSecure: ["PLAIN"],
      authPlain: [],
    },
    onConnect: () => undefined,
    onEhlo: () => undefined,
    onAuth: ({ username, password }) => ({
      ok: username === "user@testserver" && password === "secretpassword",
      user: username,
    }),
    onMailFrom: () => undefined,
    onRcptTo: (_, { address: recipient }) => (recipient === "user@testserver" ? undefined : noUser),
    onData: () => ({ write: () => undefined, end: () => yes, abort: () => {} }),
    onReset: () => {},
    onClose: () => {},
  };
}

const smtpDialogs: Suite = {
  name: "smtp-dialogs",
  async run(dir) {
    const tally = new Tally("smtp-dialogs");
    const budget = budgetWith({ authFailures: 3, authTarpitMs: 0 });
    const certificates = [selfSigned(["testserver"])];
    const site = { host: "127.0.0.1", port: 0, budget };
    const plain = createSmtpServer({ ...site, tls: { mode: "starttls", certificates } }, testSite);
    const tls = createSmtpServer({ ...site, tls: { mode: "implicit", certificates } }, testSite);
    const ports = { plain: (await plain.listen()).port, tls: (await tls.listen()).port };
    try {
      for (const file of (await readdir(dir)).filter((name) => name.endsWith(".cmy")).sort()) {
        const script = await readFile(join(dir, file), "utf8");
        if (isPlayable(script)) {
          const failure = await play(script, ports).then(
            () => undefined,
            (error: unknown) => String(error),
          );
          tally.add(file, failure);
        } else tally.result.skipped++;
      }
    } finally {
      await Promise.all([plain.close(0), tls.close(0)]);
    }
    return tally.result;
  },
};

export const suites: Suite[] = [address, smtpCommands, smtpDialogs];
