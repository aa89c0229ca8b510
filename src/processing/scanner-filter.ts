/**
 * A scanner's opinion as a decision about a message: in the filter chain, or where a script asks for it.
 * Invariants: a verdict is written into the level headers whatever else follows; a message over `maxBytes` passes
 * unscanned. Failure: of a judge, ScannerError; of a filter, by the scanner's declared mode: "wait" fails the filter, so
 * that the message stays in the queue.
 */
import { type Outcome, outcome } from "../message/outcome.ts";
import { type LevelHeaders, levelEdits, levelHeaders } from "../scanners/scores.ts";
import { type ScanInput, type Scanner, ScannerError, type ScanVerdict } from "../scanners/types.ts";
import type { WorkingMessage } from "./content.ts";
import { type Decision, type Filter, type FilterContext, type FinalAction, rejected } from "./filter.ts";

/** Makes the reply of a refusal. */
export type Refuse = (reason: string, origin: string) => Outcome;

export interface Judgement {
  decision: Decision;
  /** What a scanner found; absent when it was not asked, or judges without a verdict of that form. */
  verdict?: ScanVerdict;
}

/** Asks about one message. */
export type Judge = (input: ScanInput, content: WorkingMessage, refuse: Refuse) => Promise<Judgement>;

export interface ScannerOptions {
  /** Larger messages are not scanned; 0 = no limit. */
  maxBytes: number;
  onVirus: "reject" | "discard" | "quarantine" | "tag";
  /** What a spam verdict of the scanner's own ("reject", or a score at the threshold) means. */
  onSpam: "reject" | "discard" | "quarantine" | "tag";
  levelNames?: LevelHeaders;
}

export interface ScannerFilterOptions {
  name: string;
  priority: number;
  onError: "accept" | "reject" | "tempfail" | "wait";
}

export function scannerJudge(scanner: Scanner, options: ScannerOptions): Judge {
  return async (input, content, refuse) => {
    if (options.maxBytes > 0 && content.size > options.maxBytes) return { decision: {} };
    const verdict = await scanner.scan(input);
    const headerEdits = levelEdits(content.headers, verdict, options.levelNames ?? levelHeaders);
    const action = actionOf(verdict, options, refuse);
    return { decision: action === undefined ? { headerEdits } : { headerEdits, action }, verdict };
  };
}

export function scannerFilter(judge: Judge, { name, priority, onError }: ScannerFilterOptions): Filter {
  return {
    name,
    level: "server",
    priority,
    async run(context) {
      try {
        return (await judge(scanInput(context), context.content, rejected)).decision;
      } catch (error) {
        return failed(error, name, onError);
      }
    },
  };
}

function scanInput({ message, content, recipients }: FilterContext): ScanInput {
  return {
    bytes: () => content.bytes(),
    size: content.size,
    mailFrom: message.envelope.mailFrom,
    rcptTo: recipients.map((recipient) => recipient.address),
    remoteIp: message.client.remoteIp,
    remotePort: message.client.remotePort,
    remoteHost: message.exports.remoteHost ?? "",
    ehlo: message.client.ehlo,
    authUser: message.client.authUser,
    queueId: message.id,
  };
}

function actionOf(verdict: ScanVerdict, options: ScannerOptions, refuse: Refuse): FinalAction | undefined {
  const { scanner } = verdict;
  if (verdict.virus !== "") return asked(options.onVirus, `${verdict.virus} found`, scanner, refuse);
  if (verdict.action === "discard") return { kind: "discard", reason: `${scanner}: ${verdict.message ?? "discard"}` };
  if (verdict.action === "quarantine") return { kind: "quarantine", reason: scanner };
  if (verdict.action === "tmpreject") {
    const text = verdict.message ?? "Try again later";
    return { kind: "defer", outcome: outcome.defer({ code: 451, enhanced: "4.7.1", text, origin: scanner }) };
  }
  const spam =
    verdict.action === "reject" ||
    (verdict.score !== undefined && verdict.threshold !== undefined && verdict.score >= verdict.threshold);
  return spam ? asked(options.onSpam, verdict.message ?? "spam", scanner, refuse) : undefined;
}

function asked(
  kind: "reject" | "discard" | "quarantine" | "tag",
  reason: string,
  scanner: string,
  refuse: Refuse,
): FinalAction | undefined {
  switch (kind) {
    case "reject":
      return { kind, outcome: refuse(reason, scanner) };
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
