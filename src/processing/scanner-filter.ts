/**
 * Scanners and milters as filters of the chain.
 * Invariants: a verdict is written into the level headers whatever else follows; a message over `maxBytes` passes
 * unscanned. Failure: by the scanner's declared mode: "wait" fails the filter, so that the message stays in the queue.
 */
import type { Budget } from "../config/budget.ts";
import { outcome } from "../message/outcome.ts";
import { MilterChain } from "../scanners/milter/chain.ts";
import type { MilterClient } from "../scanners/milter/link.ts";
import { clientMacro } from "../scanners/milter/macros.ts";
import { type LevelHeaders, levelEdits, levelHeaders } from "../scanners/scores.ts";
import { type ScanInput, type Scanner, ScannerError, type ScanVerdict } from "../scanners/types.ts";
import { type Decision, type Filter, type FilterContext, type FinalAction, rejected } from "./filter.ts";

export interface ScannerFilterOptions {
  priority: number;
  onError: "accept" | "reject" | "tempfail" | "wait";
  /** Larger messages are not scanned; 0 = no limit. */
  maxBytes: number;
  onVirus: "reject" | "discard" | "quarantine" | "tag";
  /** What a spam verdict of the scanner's own ("reject", or a score at the threshold) means. */
  onSpam: "reject" | "discard" | "quarantine" | "tag";
  levelNames?: LevelHeaders;
}

export const scannerFilterDefaults: ScannerFilterOptions = {
  priority: 100,
  onError: "wait",
  maxBytes: 26_214_400,
  onVirus: "reject",
  onSpam: "tag",
};

export function scannerFilter(scanner: Scanner, given: Partial<ScannerFilterOptions> = {}): Filter {
  const options = { ...scannerFilterDefaults, ...given };
  return {
    name: scanner.name,
    level: "server",
    priority: options.priority,
    async run(context) {
      if (options.maxBytes > 0 && context.content.size > options.maxBytes) return {};
      try {
        return decide(await scanner.scan(scanInput(context)), context, options);
      } catch (error) {
        return failed(error, scanner.name, options.onError);
      }
    },
  };
}

/** A milter over the queued message; the session is played from what is known of the client. */
export function milterFilter(client: MilterClient, priority: number, hostName: string, budget: Budget): Filter {
  return {
    name: client.settings.name,
    level: "server",
    priority,
    run: (context) => playMilter(client, context, hostName, budget),
  };
}

function scanInput({ message, content, recipients }: FilterContext): ScanInput {
  return {
    bytes: () => content.bytes(),
    size: content.size,
    mailFrom: message.envelope.mailFrom,
    rcptTo: recipients.map((recipient) => recipient.address),
    remoteIp: message.client.remoteIp,
    remoteHost: message.exports.remoteHost ?? "",
    ehlo: message.client.ehlo,
    authUser: message.client.authUser,
    queueId: message.id,
  };
}

function decide(verdict: ScanVerdict, { content }: FilterContext, options: ScannerFilterOptions): Decision {
  const headerEdits = levelEdits(content.headers, verdict, options.levelNames ?? levelHeaders);
  const action = actionOf(verdict, options);
  return action === undefined ? { headerEdits } : { headerEdits, action };
}

function actionOf(verdict: ScanVerdict, options: ScannerFilterOptions): FinalAction | undefined {
  const { scanner } = verdict;
  if (verdict.virus !== "") return asked(options.onVirus, `${verdict.virus} found`, scanner);
  if (verdict.action === "discard") return { kind: "discard", reason: `${scanner}: ${verdict.message ?? "discard"}` };
  if (verdict.action === "quarantine") return { kind: "quarantine", reason: scanner };
  const spam =
    verdict.action === "reject" ||
    (verdict.score !== undefined && verdict.threshold !== undefined && verdict.score >= verdict.threshold);
  return spam ? asked(options.onSpam, verdict.message ?? "spam", scanner) : undefined;
}

function asked(
  kind: "reject" | "discard" | "quarantine" | "tag",
  reason: string,
  scanner: string,
): FinalAction | undefined {
  switch (kind) {
    case "reject":
      return { kind, outcome: rejected(reason, scanner) };
    case "discard":
    case "quarantine":
      return { kind, reason: `${scanner}: ${reason}` };
    case "tag":
      return undefined;
  }
}

function failed(error: unknown, name: string, mode: ScannerFilterOptions["onError"]): Decision {
  if (!(error instanceof ScannerError) || mode === "wait") throw error;
  if (mode === "accept") return {};
  if (mode === "reject") return { action: { kind: "reject", outcome: rejected(`${name} failed`, name) } };
  const text = `${name} is not available`;
  return { action: { kind: "defer", outcome: outcome.defer({ code: 451, enhanced: "4.3.0", text, origin: name }) } };
}

async function playMilter(
  client: MilterClient,
  { message, content, recipients }: FilterContext,
  hostName: string,
  budget: Budget,
): Promise<Decision> {
  const macro = (name: string) => clientMacro(name, message.client, message.envelope, hostName, message.id);
  const chain = new MilterChain([client], macro, budget, true);
  try {
    const refused: string[] = [];
    const { remoteIp, remotePort, ehlo } = message.client;
    for (const step of [
      () => chain.connect({ host: `[${remoteIp}]`, ip: remoteIp, port: remotePort }),
      () => chain.helo(ehlo),
      () => chain.mail(message.envelope.mailFrom),
    ]) {
      const answer = await step();
      if (answer.outcome)
        return { action: { kind: answer.outcome.temporary ? "defer" : "reject", outcome: answer.outcome } };
    }
    for (const { address } of recipients) if ((await chain.rcpt(address)).outcome) refused.push(address);
    const data = await chain.data();
    // Our Received field is the top one of every message that came in over SMTP.
    const result = data.outcome ? undefined : await chain.message(content.header, 1, () => content.body());
    const reply = data.outcome ?? result?.outcome;
    if (reply !== undefined) return { action: { kind: reply.temporary ? "defer" : "reject", outcome: reply } };
    if (result === undefined || result.discard) return { action: { kind: "discard", reason: client.settings.name } };
    const { envelope } = result;
    return {
      ...(result.header === undefined ? {} : { header: result.header }),
      ...(result.body === undefined ? {} : { body: result.body }),
      ...(envelope.mailFrom === undefined ? {} : { mailFrom: envelope.mailFrom }),
      ...(envelope.quarantine === "" ? {} : { action: { kind: "quarantine", reason: envelope.quarantine } }),
      addRecipients: envelope.added.map((added) => added.address),
      removeRecipients: [...refused, ...envelope.deleted],
    };
  } finally {
    await chain.close();
  }
}
