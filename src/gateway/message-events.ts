/**
 * The policy's events after reception: onProcessing, onRelay and the three delivery reports, each in a fresh session
 * made from the message's stored exports (smtpfilters.md §10), so that they may run hours later or after a restart.
 * Invariants: a program without statements for an event is never asked. Failure: a fault in the event leaves the
 * engine's own policy in force and is logged.
 */
import type { RelayPolicy } from "../delivery/route.ts";
import { formatDate } from "../message/date.ts";
import { domainOf, localPartOf } from "../message/envelope.ts";
import { renderReport } from "../policy/report.ts";
import type { EventName, EventResult, PolicyContext, PolicySession } from "../policy/types.ts";
import type { OnProcessing } from "../processing/policy-filter.ts";
import type { DeliveryResult, QueuedMessage, ReportPolicy, ReportText } from "../queue/types.ts";
import type { MessageFacts, ShownMessage } from "./facts.ts";
import { laterSession } from "./later-record.ts";
import type { Live } from "./live.ts";
import type { Recording } from "./recording.ts";
import { replyOf } from "./verdict.ts";

export interface MessageEventsOptions {
  live(): Live;
  /** Facts for events of one message; `shown` when the body is at hand. */
  facts(message: QueuedMessage, shown?: ShownMessage): MessageFacts;
  /** The recorder; undefined: nothing is recorded. */
  recording(): Recording | undefined;
}

type Later = Exclude<PolicyContext, "smtpIn">;

const noResult: EventResult = Object.freeze({ action: "", explanation: "", origin: "", effects: [] });

export interface MessageEvents {
  /** undefined when the program has nothing for onProcessing. */
  processing(): OnProcessing | undefined;
  relay: RelayPolicy;
  reports: ReportPolicy;
}

export function createMessageEvents(options: MessageEventsOptions): MessageEvents {
  const open = (context: Later, event: EventName, message: QueuedMessage): PolicySession | undefined => {
    const { program, budget } = options.live();
    if (program.isEmpty(event)) return undefined;
    return laterSession(options.recording(), program, context, options.facts(message), message, budget);
  };

  return {
    processing() {
      if (options.live().program.isEmpty("onProcessing")) return undefined;
      return async (message, parsed, content) => {
        const { program, budget } = options.live();
        if (program.isEmpty("onProcessing")) return noResult;
        const facts = options.facts(message, { parsed, content });
        try {
          const session = laterSession(options.recording(), program, "smtpProc", facts, message, budget);
          session.input("mailFrom", message.envelope.mailFrom);
          session.input("mailFromDomain", domainOf(message.envelope.mailFrom));
          session.input("mailFromUser", localPartOf(message.envelope.mailFrom));
          session.input("mailSize", String(content.size));
          const result = await session.run("onProcessing");
          Object.assign(message.exports, session.exports());
          const filtered = facts.filtered();
          return filtered ? { ...result, filtered } : result;
        } finally {
          await facts.close();
        }
      };
    },

    async relay(message, domain, preset) {
      const session = open("smtpOut", "onRelay", message);
      if (!session) return { route: preset, origin: preset.host === "" ? "" : "onRcptTo" };
      session.input("rcptToDomain", domain);
      session.input("remoteSmtpHost", preset.host);
      if (preset.host !== "") {
        session.input("remoteSmtpPort", String(preset.port));
        session.input("sslEnabled", preset.implicitTls ? "yes" : "no");
      }
      const result = await session.run("onRelay");
      const reply = replyOf("onRelay", result);
      const route = session.route() ?? preset;
      const refused = reply && reply.code >= 400 ? reply : undefined;
      const signatures = result.effects.filter((effect) => effect.kind === "signDkim");
      return {
        route,
        origin: result.origin || "onRelay",
        ...(refused ? { refused } : {}),
        ...(signatures.length > 0 ? { signatures } : {}),
      };
    },

    reports: {
      permanent: (message, failed) => report("onDeliveryFailure", message, failed),
      temporary: (message, failed) => report("onTemporaryDeliveryFailure", message, failed),
      success: (message, delivered) => report("onDeliverySuccess", message, delivered),
    },
  };

  async function report(
    event: "onDeliveryFailure" | "onTemporaryDeliveryFailure" | "onDeliverySuccess",
    message: QueuedMessage,
    results: DeliveryResult[],
  ): Promise<ReportText | undefined> {
    const { config, program, budget } = options.live();
    const session = laterSession(options.recording(), program, "smtpProc", options.facts(message), message, budget);
    const inputs: Record<string, string> = {
      mailFrom: message.envelope.mailFrom,
      mailFromDomain: domainOf(message.envelope.mailFrom),
      mailFromUser: localPartOf(message.envelope.mailFrom),
      ndrRetryCount: String(message.attempts),
      ndrRemainingRetryCount: String(Math.max(0, config.queue.attempts - message.attempts)),
      ndrRescheduleDate: event === "onTemporaryDeliveryFailure" ? formatDate(message.nextAttempt) : "",
    };
    for (const [name, value] of Object.entries(inputs)) session.input(name, value);
    const recipients = results.map(({ recipient, outcome: said, kind }) => ({
      address: recipient.address,
      detail: event === "onDeliverySuccess" ? kind : `${said.code} ${said.enhanced} ${said.text}`,
    }));
    const [first] = recipients;
    const prefix = event === "onDeliverySuccess" ? "dsn" : "ndr";
    session.input(`${prefix}RcptAddress`, first?.address ?? "");
    session.input(prefix === "dsn" ? "dsnRcptStatus" : "ndrRcptFailInfo", first?.detail ?? "");
    await session.run(event);
    const kind = event === "onDeliveryFailure" ? "permanent" : prefix === "ndr" ? "temporary" : "success";
    return renderReport(session, kind, recipients, `MAILER-DAEMON@${config.server.name}`);
  }
}
