/**
 * Delivers a message to one next hop over SMTP or LMTP: resolves it, tries its hosts in order (RFC 5321 §5.1), each
 * with the TLS protection its policy demands.
 * Invariants: every recipient gets exactly one result; a recipient that a host answered for is not tried at another
 * host, only those it left unanswered are. Failure: never rejects for network reasons; the last host's trouble is the
 * result, temporary when any host's was.
 */
import type { Budget } from "../config/budget.ts";
import { type Outcome, outcome } from "../message/outcome.ts";
import type { BodySource, QueuedMessage, QueuedRecipient } from "../queue/types.ts";
import {
  type ClientBudget,
  type ConnectOptions,
  defaultTimeouts,
  SmtpConnection,
  type Timeouts,
} from "../smtp/outgoing/client.ts";
import { SmtpError } from "../smtp/outgoing/error.ts";
import type { MailParameters } from "../smtp/outgoing/parameters.ts";
import type { ConnectionPool, PooledResult } from "../smtp/outgoing/pool.ts";
import type { Logger } from "../telemetry/log.ts";
import { type MxSettings, resolveHop } from "./mx.ts";
import { bracketed, hopKey } from "./next-hop.ts";
import type { Protection } from "./tls/demand.ts";
import type { TlsPolicies } from "./tls/policies.ts";
import type { Candidate, NextHop, Seal } from "./types.ts";

export interface RelaySettings {
  pool: ConnectionPool;
  mx: MxSettings;
  tls: TlsPolicies;
  ehloName: string;
  timeouts?: Partial<Timeouts>;
  budget: ClientBudget & Pick<Budget, "recipientsPerTransaction">;
  log: Logger | undefined;
  seal?: Seal;
}

/** What became of one recipient at a next hop. */
export interface RelayResult {
  recipient: QueuedRecipient;
  outcome: Outcome;
  destination: string;
  /** The host took over the duty of delivery reports (RFC 3461 §6.2). */
  dsnPassedOn: boolean;
}

export interface RelayCounters {
  connectionsFailed: number;
  /** Transactions lost after the end of data: each may become a duplicate. */
  ambiguous: number;
  /** Opportunistic TLS that failed and was done over in clear text. */
  tlsFallbacks: number;
}

export class Relay {
  readonly counters: RelayCounters = { connectionsFailed: 0, ambiguous: 0, tlsFallbacks: 0 };
  readonly #settings: RelaySettings;
  readonly #timeouts: Timeouts;

  constructor(settings: RelaySettings) {
    this.#settings = settings;
    this.#timeouts = { ...defaultTimeouts, ...settings.timeouts };
  }

  async deliver(
    hop: NextHop,
    message: QueuedMessage,
    mail: MailParameters,
    recipients: readonly QueuedRecipient[],
    body: BodySource,
  ): Promise<RelayResult[]> {
    const results: RelayResult[] = [];
    const size = this.#settings.budget.recipientsPerTransaction;
    for (let at = 0; at < recipients.length; at += size) {
      results.push(...(await this.#batch(hop, message, mail, recipients.slice(at, at + size), body)));
    }
    return results;
  }

  /** The queue name of a hop: its MX set, so that all domains of one provider share limits and back-off. */
  siteOf(hop: NextHop): string | Promise<string> {
    const named = `${hop.kind}:${hop.host || hop.domain}:${hop.port}`;
    if (bracketed(hop.host) !== undefined) return named;
    return resolveHop(hop, this.#settings.mx).then((resolved) => {
      if ("outcome" in resolved) return named;
      const hosts = resolved.candidates.map((candidate) => candidate.host).sort();
      return `${hop.kind}:${hosts.join(",")}:${hop.port}`;
    });
  }

  /** A connection of the caller's own to the first host of a hop that answers. Rejects with SmtpError. */
  async open(hop: NextHop, timeouts: Partial<Timeouts>): Promise<SmtpConnection> {
    const resolved = await resolveHop(hop, this.#settings.mx);
    if ("outcome" in resolved) throw new SmtpError("connect", resolved.outcome);
    let failure: SmtpError | undefined;
    for (const candidate of resolved.candidates) {
      const protection = await this.#settings.tls.protectionFor(hop, candidate);
      if (protection instanceof SmtpError) {
        failure = protection;
        continue;
      }
      try {
        const options = this.#connectOptions(hop, candidate, protection);
        return await SmtpConnection.open({ ...options, timeouts: { ...options.timeouts, ...timeouts } });
      } catch (error) {
        if (!(error instanceof SmtpError)) throw error;
        failure = error;
        if (error.stage === "auth") break;
      }
    }
    throw failure!;
  }

  async #batch(
    hop: NextHop,
    message: QueuedMessage,
    mail: MailParameters,
    recipients: readonly QueuedRecipient[],
    body: BodySource,
  ): Promise<RelayResult[]> {
    const results: RelayResult[] = [];
    let open = recipients;
    const sign = this.#settings.seal;
    const seal = sign && ((fitting: BodySource) => sign(message, fitting, hop.signatures ?? []));
    let failure: { outcome: Outcome; destination: string } | undefined;
    for (const one of [hop, ...(hop.fallbacks ?? [])]) {
      const resolved = await resolveHop(one, this.#settings.mx);
      if ("outcome" in resolved) {
        failure = worse(failure, { outcome: resolved.outcome, destination: one.host || one.domain });
        continue;
      }
      for (const candidate of resolved.candidates) {
        const tried = await this.#try(one, candidate, { mail, recipients: open, body, seal });
        if (tried instanceof SmtpError) {
          this.#settings.log?.info({ queueId: message.id, host: candidate.host, reason: tried.message }, "host failed");
          failure = worse(failure, { outcome: tried.outcome, destination: destinationText(candidate) });
          continue;
        }
        if (tried.ambiguous) this.counters.ambiguous++;
        const left: QueuedRecipient[] = [];
        for (const [index, recipient] of open.entries()) {
          const result = tried.outcomes[index]!;
          const destination = tried.origin.replace(/^remote /, "");
          if (tried.untouched && result.temporary) {
            left.push(recipient);
            failure = worse(failure, { outcome: result, destination });
          } else results.push({ recipient, outcome: result, destination, dsnPassedOn: tried.dsnPassedOn });
        }
        open = left;
        if (open.length === 0) return results;
      }
    }
    for (const recipient of open) results.push({ recipient, ...failure!, dsnPassedOn: false });
    return results;
  }

  /** One host, with a second try in clear text where the policy allows it. */
  async #try(
    hop: NextHop,
    candidate: Candidate,
    transaction: Parameters<ConnectionPool["deliver"]>[2],
  ): Promise<PooledResult | SmtpError> {
    const { pool, tls } = this.#settings;
    const protection = await tls.protectionFor(hop, candidate);
    if (protection instanceof SmtpError) return protection;
    const key = `${hopKey(hop)} ${candidate.host} ${protection.policyType}`;
    const options = this.#connectOptions(hop, candidate, protection);
    try {
      const result = await pool.deliver(key, options, transaction);
      if (result.tlsInfo !== "") tls.note(hop, candidate, protection.policyType, undefined);
      return result;
    } catch (error) {
      if (!(error instanceof SmtpError)) throw error;
      if (error.stage !== "tls") {
        this.counters.connectionsFailed++;
        return error;
      }
      tls.note(hop, candidate, protection.policyType, error.tlsResult ?? "validation-failure");
      if (!protection.clearTextFallback) return error;
    }
    // RFC 7435 §3: opportunistic security prefers clear text to no delivery.
    this.counters.tlsFallbacks++;
    const clear: ConnectOptions = { ...options, tls: { ...options.tls, mode: "none" } };
    try {
      return await pool.deliver(`${key} clear`, clear, transaction);
    } catch (error) {
      if (error instanceof SmtpError) return error;
      throw error;
    }
  }

  #connectOptions(hop: NextHop, candidate: Candidate, protection: Protection): ConnectOptions {
    const { ehloName, budget, log } = this.#settings;
    const mechanisms = hop.authTypes.toUpperCase().split(/\s+/).filter(Boolean);
    return {
      host: candidate.host,
      addresses: candidate.addresses,
      port: candidate.port,
      localAddress: hop.localAddress,
      lmtp: hop.kind === "lmtp",
      tls: protection.demand,
      credentials: hop.authUser ? { user: hop.authUser, password: hop.authPass, mechanisms } : undefined,
      ehloName,
      timeouts: this.#timeouts,
      budget,
      ...(log ? { log } : {}),
    };
  }
}

function destinationText(candidate: Candidate): string {
  return `${candidate.host} [${candidate.addresses[0]}]:${candidate.port}`;
}

/** A temporary failure of any host keeps the mail alive. */
function worse(
  before: { outcome: Outcome; destination: string } | undefined,
  now: { outcome: Outcome; destination: string },
): { outcome: Outcome; destination: string } {
  return before?.outcome.temporary && !now.outcome.temporary ? before : now;
}

/** An outcome for a fault of ours while relaying. */
export function engineTrouble(text: string): Outcome {
  return outcome.defer({ code: 451, enhanced: "4.3.0", text, origin: "engine" });
}
