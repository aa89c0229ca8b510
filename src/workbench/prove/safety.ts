/**
 * Theorems about what a gateway must never do: relay for strangers, ask for passwords in clear text, answer forged
 * senders, deliver what a filter refused, or become unsafe when checks fail.
 */

import { lookupCounts } from "../../language/prove/slice.ts";
import { domainOf } from "../../message/envelope.ts";
import { incoming } from "../../policy/events.ts";
import { findMethod } from "../../policy/names.ts";
import type { Played } from "../play/played.ts";
import type { PlaySession } from "../play/session.ts";
import {
  acceptance,
  accepted,
  alsoTold,
  delivered,
  type Finding,
  lastReply,
  type Question,
  readingOf,
  refute,
  type Theorem,
  termsOf,
  written,
} from "./theorem.ts";

const noEffects: ReadonlySet<string> = new Set();

/** A stranger's message to someone elsewhere was taken and would be sent on. */
function relayed(session: PlaySession, played: Played): string | undefined {
  const recipient = session.rcptTo.at(-1) ?? "";
  const domain = domainOf(recipient);
  if ((lastReply(played, "RCPT TO")?.code ?? 500) >= 400) return undefined;
  if (!played.routes.some((route) => route.domain === domain)) return undefined;
  return `a client without AUTH, ${session.connect.remoteIp}, sends to <${recipient}> elsewhere`;
}

/**
 * First without the refusals of the script: they only take away. What is never relayed then needs no look at the rest.
 * Otherwise a session must be found that passes all of them.
 */
async function neverRelays(theorem: string, question: Question, allFail: boolean): Promise<Finding> {
  const who = { strangers: true, foreign: true, allFail };
  const rights = readingOf(question, {
    slots: ["localDelivery", "remoteDelivery"],
    effects: noEffects,
    entries: incoming,
  });
  const alone = await refute(
    theorem,
    question,
    rights,
    termsOf(question, { ...who, heedless: true }),
    (_session, played) =>
      (lastReply(played, "RCPT TO")?.code ?? 500) < 400 ? "the relay rule lets it pass" : undefined,
  );
  if (alone.result === "holds") return alone;
  const whole = readingOf(question, { slots: acceptance, effects: noEffects, entries: [...incoming, "onProcessing"] });
  return refute(theorem, question, whole, termsOf(question, who), relayed);
}

export const openRelay: Theorem = {
  id: "no-open-relay",
  says: "A client from the Internet without AUTH can't send to a domain that is not local and that the policy doesn't name.",
  async prove(question) {
    return [await neverRelays(this.id, question, false)];
  },
};

export const clearAuth: Theorem = {
  id: "no-clear-text-auth",
  says: "The policy never opens AUTH on a connection without TLS; it leaves that to the configuration, where it is off.",
  async prove(question) {
    const names = ["plainConnAllowLogin", "plainConnAuthTypes"];
    const reading = readingOf(question, {
      slots: ["smtpAction", ...names],
      effects: noEffects,
      entries: ["onConnect", "onEhlo"],
    });
    return [
      await refute(this.id, question, reading, termsOf(question, { clearAuth: true }), (session, played) => {
        const offered = played.ehlo.find((line) => line.startsWith("AUTH "));
        const opened = names.some((name) => written(played, name) !== undefined);
        if (session.connect.tls || offered === undefined || !opened) return undefined;
        return `"${offered}" is announced without TLS because the policy says so`;
      }),
    ];
  },
};

export const backscatter: Theorem = {
  id: "no-backscatter",
  says: "Without AUTH, no report goes to a sender that SPF called forged, and no message is first taken and then refused.",
  async prove(question) {
    const slots = [...acceptance, "sendNdr", "SPFResult", "waitProcessingTimeout"];
    const reading = readingOf(question, { slots, effects: noEffects });
    alsoTold(reading, "SPFResult", ["fail"]);
    return [
      await refute(
        this.id,
        question,
        reading,
        termsOf(question, { strangers: true, reports: true }),
        (session, played) => {
          if (!accepted(played) || session.mailFrom === "") return undefined;
          const late = played.events.find(({ event, action }) => event === "onProcessing" && action === "reject");
          const waits = Number(written(played, "waitProcessingTimeout") ?? "0") > 0;
          if (late && !waits)
            return `onProcessing refuses what was accepted: <${session.mailFrom}> gets a report it may never have asked for`;
          if (written(played, "SPFResult") !== "fail" || played.reports.length === 0) return undefined;
          return `SPF says that <${session.mailFrom}> is forged, and a ${played.reports[0]!.kind} report is sent there`;
        },
      ),
    ];
  },
};

export const virus: Theorem = {
  id: "virus-never-delivered",
  says: "What a filter refused, or could not be asked about, is not delivered.",
  async prove(question) {
    const effects = new Set(["quarantine", "hold"]);
    const reading = readingOf(question, { slots: [...acceptance, "filterResult"], effects });
    alsoTold(reading, "filterResult", ["accept", "reject", "tmpreject", "discard"]);
    if (!reading.lookups.has("executeFilters")) {
      return [{ theorem: this.id, result: "holds", reason: "the policy asks no filter", cases: 0 }];
    }
    return [
      await refute(this.id, question, reading, termsOf(question, { rights: true }), (session, played) => {
        const asked = played.events.filter(({ lookups }) => lookups.includes("executeFilters"));
        const failed = asked.length > 0 && JSON.stringify(session.facts.executeFilters) === '"error"';
        const refused = asked.find(({ writes }) => !["", "accept", undefined].includes(writes.filterResult));
        if (!delivered(played) || !(failed || refused)) return undefined;
        return failed
          ? "the filters can't be asked, and the message is delivered all the same"
          : `a filter says ${refused!.writes.filterResult}, and the message is delivered all the same`;
      }),
    ];
  },
};

export const failures: Theorem = {
  id: "safe-when-checks-fail",
  says: "Each check says what happens when it gets no answer (onError), and with all of them silent nobody relays.",
  async prove(question) {
    const unstated: Finding[] = [];
    for (const { code, span, message } of question.subject.policy.warnings) {
      if (code !== "P046") continue;
      const name = calledAt(question.subject.source, span.start.offset);
      const reading = readingOf(question, { slots: acceptance, effects: noEffects, at: span.start.offset });
      const terms = termsOf(question, { rights: true, allFail: true });
      const finding = await refute(this.id, question, reading, terms, (_session, played) => {
        const called = played.events.some(({ lookups }) => lookups.some((lookup) => lookup === name));
        return called ? `${message}: the policy doesn't say so (onError)` : undefined;
      });
      // A check that no session reaches can't fail.
      if (finding.result !== "holds") unstated.push({ ...finding, line: span.start.line });
    }
    if (unstated.length > 0) return unstated;
    if (lookupCounts(question.subject.policy.module).size === 0) {
      return [{ theorem: this.id, result: "holds", reason: "the policy asks no check", cases: 0 }];
    }
    return [await neverRelays(this.id, question, true)];
  },
};

/** Canonical name of the check in the call statement that begins here. */
function calledAt(source: string, offset: number): string {
  const word = /^call\s*\(\s*(\w+)/i.exec(source.slice(offset, offset + 200))?.[1] ?? "";
  return findMethod(word)?.name ?? word;
}
