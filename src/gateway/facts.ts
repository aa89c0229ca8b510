/**
 * The facts that policies read, joined from the house: checks of senders and messages, header fields, message parts,
 * rates. One object per SMTP session or per message; deadlines and failure values are the policy runtime's.
 * Failure: a check that is not at hand rejects, which the runtime turns into the method's declared failure.
 */
import { createFactSource, type FactServices } from "../checks/facts.ts";
import type { GeoIp } from "../checks/geoip/geoip.ts";
import type { Resolver } from "../dns/types.ts";
import type { HeaderSection } from "../message/headers.ts";
import { type ParsedMessage, parseMessage } from "../message/parse.ts";
import { parseRate } from "../policy/rate.ts";
import type { FactSource } from "../policy/types.ts";
import type { BodySource, QueuedMessage } from "../queue/types.ts";
import type { SharedState } from "../state/types.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Live } from "./live.ts";
import type { SessionFacts } from "./message-sink.ts";
import type { PolicyLists } from "./policy-lists.ts";

export interface FactsOptions {
  live(): Live;
  resolver: Resolver;
  state: SharedState;
  geoip: GeoIp | undefined;
  lists: PolicyLists;
  log: Logger;
}

export interface Facts {
  ofSession(live: Live): SessionFacts;
  ofMessage(message: QueuedMessage, parsed?: ParsedMessage): FactSource;
}

export function createFacts(options: FactsOptions): Facts {
  const { log, resolver, state, geoip } = options;

  const services = (live: Live): FactServices => {
    const { enabled, delay, window, lifetime, autoWhitelist } = live.config.greylist;
    return {
      ctx: { resolver, budget: live.budget, hostName: live.config.server.name, now: Date.now },
      state,
      geoip,
      greylist: enabled ? { delayMs: delay, windowMs: window, lifetimeMs: lifetime, autoWhitelist } : undefined,
    };
  };
  const rate = async (key: string, limit: string): Promise<boolean> => {
    const parsed = parseRate(limit);
    if (!parsed) return false;
    return (await state.increment("rate", key, 1, parsed.windowMs)) > parsed.count;
  };
  const ignored = (variable: string, value: string): void =>
    log.warn({ variable, value }, "a value that the script set was ignored");

  return {
    ofSession(live) {
      const sender = createFactSource(services(live));
      let headers: HeaderSection | undefined;
      let parsed: ParsedMessage | undefined;
      return {
        headersArrived(section) {
          headers = section;
        },
        async contentArrived(body) {
          sender.setMessage(() => body.inMemory() ?? body.stream());
          if (body.size <= live.budget.policyContent) parsed = parseMessage(await octets(body), live.budget);
          else log.warn({ size: body.size }, "message too large for its parts to be shown to the policy");
        },
        messageEnded() {
          headers = undefined;
          parsed = undefined;
          sender.setMessage(undefined);
        },
        call: (name, read) => sender.call(name, read),
        rate,
        ignored,
        header: (name) => headers?.all(name).map((field) => field.decoded) ?? [],
        strings: (variable) => (parsed ? stringsOf(parsed, variable) : []),
        inList: (list, value) => options.lists.has(live.program, list, value),
      };
    },

    ofMessage(_message, parsed) {
      const sender = createFactSource(services(options.live()));
      if (parsed) sender.setMessage(() => parsed.bytes);
      return {
        call: (name, read) => sender.call(name, read),
        rate,
        ignored,
        header: (name) => parsed?.headers.all(name).map((field) => field.decoded) ?? [],
        strings: (variable) => (parsed ? stringsOf(parsed, variable) : []),
        inList: (list, value) => options.lists.has(options.live().program, list, value),
      };
    },
  };
}

function stringsOf(
  message: ParsedMessage,
  variable: "attachmentNames" | "attachmentTypes" | "mimeTypes",
): readonly string[] {
  const parts = message.parts();
  if (variable === "mimeTypes") return parts.map((part) => part.mediaType);
  const attached = parts.filter((part) => part.filename !== "");
  return attached.map((part) => (variable === "attachmentNames" ? part.filename : part.mediaType));
}

async function octets(body: BodySource): Promise<Uint8Array> {
  const memory = body.inMemory();
  if (memory) return memory;
  const chunks: Uint8Array[] = [];
  for await (const chunk of body.stream()) chunks.push(chunk);
  return Buffer.concat(chunks);
}
