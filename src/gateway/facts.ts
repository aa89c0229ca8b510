/**
 * The facts that policies read, joined from the house: checks of senders, header fields, lists, rates.
 * One object per SMTP session or per message; deadlines and failure values are the policy runtime's.
 * Failure: a check that is not at hand rejects, which the runtime turns into the method's declared failure.
 */
import type { Resolver } from "../dns/types.ts";
import type { HeaderScanner } from "../message/header-scanner.ts";
import type { ParsedMessage } from "../message/parse.ts";
import { parseRate } from "../policy/rate.ts";
import type { FactSource } from "../policy/types.ts";
import type { QueuedMessage } from "../queue/types.ts";
import type { SmtpClientInfo } from "../smtp/incoming/hooks.ts";
import type { SharedState } from "../state/types.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Live } from "./live.ts";
import type { SessionFacts } from "./message-sink.ts";

export interface FactsOptions {
  live(): Live;
  resolver: Resolver;
  state: SharedState;
  log: Logger;
}

export interface Facts {
  ofSession(client: SmtpClientInfo, live: Live): SessionFacts;
  ofMessage(message: QueuedMessage, parsed?: ParsedMessage): FactSource;
}

export function createFacts(options: FactsOptions): Facts {
  const rate = async (key: string, limit: string): Promise<boolean> => {
    const parsed = parseRate(limit);
    if (!parsed) return false;
    return (await options.state.increment("rate", key, 1, parsed.windowMs)) > parsed.count;
  };
  const call: FactSource["call"] = (name) => Promise.reject(new Error(`no source for ${name}`));
  const ignored = (variable: string, value: string): void =>
    options.log.warn({ variable, value }, "a value that the script set was ignored");

  return {
    ofSession() {
      const facts: SessionFacts = {
        message: undefined as HeaderScanner | undefined,
        call,
        rate,
        ignored,
        header: (name) => facts.message?.headers.all(name).map((field) => field.decoded) ?? [],
      };
      return facts;
    },
    ofMessage(_message, parsed) {
      return {
        call,
        rate,
        ignored,
        header: (name) => parsed?.headers.all(name).map((field) => field.decoded) ?? [],
      };
    },
  };
}
