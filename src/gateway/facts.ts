/**
 * The facts that policies read, joined from the house: checks of senders and messages, filters that scripts name,
 * header fields, message parts, lists, rates. One object per SMTP session or per message; deadlines and failure values
 * are the policy runtime's. Each fact leaves a log line: what was asked, where the answer came from, how long it took.
 * Failure: a check that is not at hand rejects, which the runtime turns into the method's declared failure.
 */
import { createFactSource, type FactRecord, type FactServices } from "../checks/facts.ts";
import type { GeoIp } from "../checks/geoip/geoip.ts";
import { milliseconds } from "../checks/provenance.ts";
import { overRate } from "../checks/rate.ts";
import type { CheckContext } from "../checks/types.ts";
import type { Resolver } from "../dns/types.ts";
import { domainOf, localPartOf } from "../message/envelope.ts";
import type { ParsedMessage } from "../message/parse.ts";
import { parseRate } from "../policy/rate.ts";
import type { FactSource } from "../policy/types.ts";
import type { WorkingMessage } from "../processing/content.ts";
import type { Decision } from "../processing/filter.ts";
import type { QueuedMessage } from "../queue/types.ts";
import type { SmtpClientInfo } from "../smtp/incoming/hooks.ts";
import type { SharedState } from "../state/types.ts";
import type { Logger } from "../telemetry/log.ts";
import { FilterFacts } from "./filter-facts.ts";
import type { Live } from "./live.ts";
import type { PolicyLists } from "./policy-lists.ts";
import { type NamedScanners, ScriptFilters } from "./script-filters.ts";
import { type CommonFacts, SessionFacts, stringsOf } from "./session-facts.ts";

export interface FactsOptions {
  live(): Live;
  resolver: Resolver;
  state: SharedState;
  geoip: GeoIp | undefined;
  lists: PolicyLists;
  scanner: NamedScanners;
  log: Logger;
}

/** A message in processing, as the event sees it. */
export interface ShownMessage {
  parsed: ParsedMessage;
  /** Whole, with the edits of earlier filters. */
  content: WorkingMessage;
}

export interface MessageFacts extends FactSource {
  /** What filters that the event ran want; undefined when it ran none. */
  filtered(): Decision | undefined;
  close(): Promise<void>;
}

export interface Facts {
  ofSession(live: Live, client: SmtpClientInfo): SessionFacts;
  ofMessage(message: QueuedMessage, shown?: ShownMessage): MessageFacts;
  checkContext(live: Live): CheckContext;
}

export function createFacts(options: FactsOptions): Facts {
  const { log, resolver, state, geoip } = options;

  const checkContext = (live: Live): CheckContext => ({
    ...{ resolver, budget: live.budget, hostName: live.config.server.name, now: Date.now },
  });
  const services = (live: Live, about: Record<string, string>): FactServices => {
    return {
      ctx: checkContext(live),
      state,
      geoip,
      greylist: live.greylist,
      dnsLists: live.dnsLists,
      domainKeys: live.config.authentication.domainKeys,
      onRecord: (record) => logRecord(log, record, about),
    };
  };
  const common = (live: () => Live): CommonFacts => ({
    rate(key, limit) {
      const parsed = parseRate(limit);
      return parsed ? overRate(state, key, parsed) : false;
    },
    ignored: (variable, value) => log.warn({ variable, value }, "a value that the script set was ignored"),
    inList: (list, value) => options.lists.has(live().program, list, value),
  });

  return {
    checkContext,

    ofSession(live, client) {
      const about = { session: client.sessionId };
      const { scanner } = options;
      return new SessionFacts({
        ...{ live, client, scanner, log },
        ...{ services: services(live, about), common: common(() => live) },
      });
    },

    ofMessage(message, shown) {
      const live = options.live();
      const { client, envelope, recipients } = message;
      const given = services(live, { queueId: message.id });
      const { sender, content } = { sender: createFactSource(given), ...shown };
      const filterFacts = new FilterFacts(given.onRecord);
      if (content) sender.setMessage(() => content.bytes());
      const filters = new ScriptFilters(live.config.server.name, live.budget, options.scanner);
      filters.begin({ ...envelope, rcptTo: recipients.filter(({ state: at }) => at === "received") });
      let filtered: WorkingMessage | undefined;
      // The session is over: what checks read of it travels with the message.
      const known: Readonly<Record<string, string>> = {
        remoteSmtpIp: client.remoteIp,
        ehloHost: client.ehlo,
        authUser: client.authUser,
        mailFrom: envelope.mailFrom,
        mailFromDomain: domainOf(envelope.mailFrom),
        mailFromUser: localPartOf(envelope.mailFrom),
      };
      return {
        ...common(options.live),
        async call(name, read, effects) {
          if (name !== "executeFilters") return sender.call(name, (variable) => known[variable] ?? read(variable));
          for (const effect of effects) if (effect.kind === "filter") filters.name(effect);
          if (content) filtered ??= content.copy();
          const scene = { client, clientName: "", envelope: filters.envelope, id: message.id };
          return filterFacts.outputs(filters.execute(filtered ? { ...scene, content: filtered } : scene), false);
        },
        origin: (answer) => [...filterFacts.origin(answer), ...sender.origin(answer)],
        header: (name) => shown?.parsed.headers.all(name).map((field) => field.decoded) ?? [],
        strings: (variable) => (shown ? stringsOf(shown.parsed, variable) : []),
        filtered: () => filtered && filters.decision(filtered),
        close: () => filters.close(),
      };
    },
  };
}

/** Where a fact came from and how long it took (level "protocol"); one that could not be had is a warning. */
function logRecord(log: Logger, record: FactRecord, about: Record<string, string>): void {
  const { name, source, from, elapsedMs, outputs, failure } = record;
  const ms = milliseconds(elapsedMs);
  if (failure === "") log.debug({ ...about, fact: name, source, from, ms, outputs }, "fact");
  else log.warn({ ...about, fact: name, source, from, ms, failure }, "a check failed");
}
