/**
 * Postfix policy delegation services (postgrey, policyd-spf…), asked at RCPT in the order of the configuration.
 * Invariants: one service's refusal ends the asking; connections live as long as the configuration entry stays the
 * same. Failure: `ask` does not reject; a service that fails lets the recipient pass or defers it, as declared.
 */
import type { Budget } from "../config/budget.ts";
import type { Config } from "../config/schema.ts";
import type { Envelope } from "../message/envelope.ts";
import { type Outcome, outcome } from "../message/outcome.ts";
import type { PolicyEffect } from "../policy/types.ts";
import { type PolicyAttributes, PolicyDelegation } from "../scanners/policy-delegation.ts";
import { parseSocketAddress } from "../scanners/stream.ts";
import { ScannerError } from "../scanners/types.ts";
import type { SmtpClientInfo } from "../smtp/incoming/hooks.ts";
import type { Logger } from "../telemetry/log.ts";

type ServiceConfig = Config["policyServices"][number];

export interface ServiceQuestion {
  client: SmtpClientInfo;
  /** Verified name of the client, "" when it was not asked for or there is none. */
  clientName: string;
  envelope: Envelope;
  recipient: string;
  /** Number of the transaction within its session. */
  transaction: number;
}

/** What the services said of one recipient. */
export interface ServiceAdvice {
  refusal?: Outcome;
  /** The recipient gets nothing, and nobody is told. */
  discard: boolean;
  effects: PolicyEffect[];
}

export class PolicyServices {
  readonly #log: Logger;
  #services: Array<{ key: string; config: ServiceConfig; client: PolicyDelegation }> = [];

  constructor(configs: readonly ServiceConfig[], budget: Budget, log: Logger) {
    this.#log = log;
    this.reload(configs, budget);
  }

  /** Takes a new configuration. Throws RangeError for a bad address, and keeps the old one. */
  reload(configs: readonly ServiceConfig[], budget: Budget): void {
    const before = new Map(this.#services.map((service) => [service.key, service]));
    const next = configs.map((config) => {
      const key = JSON.stringify(config);
      const { name, address, timeout } = config;
      const kept = before.get(key);
      return kept ?? { key, config, client: new PolicyDelegation(name, parseSocketAddress(address), timeout, budget) };
    });
    for (const service of this.#services) if (!next.includes(service)) service.client.close();
    this.#services = next;
  }

  get empty(): boolean {
    return this.#services.length === 0;
  }

  close(): void {
    for (const { client } of this.#services) client.close();
  }

  async ask(question: ServiceQuestion): Promise<ServiceAdvice> {
    const advice: ServiceAdvice = { discard: false, effects: [] };
    const attributes = attributesOf(question);
    for (const service of this.#services) {
      try {
        const action = await service.client.ask(attributes);
        if (action.kind === "reply") return { ...advice, refusal: action.outcome };
        if (action.kind === "ok") return advice; // access(5): no further restriction is asked
        if (action.kind === "prepend") {
          advice.effects.push({ kind: "addHeader", name: action.name, value: action.value });
        } else if (action.kind === "hold") advice.effects.push({ kind: "hold", text: action.text });
        else if (action.kind === "discard") advice.discard = true;
        else if (action.kind === "redirect") this.#log.warn({ service: service.config.name }, "REDIRECT is not obeyed");
      } catch (error) {
        const refusal = this.#failed(service.config, error);
        if (refusal) return { ...advice, refusal };
      }
    }
    return advice;
  }

  #failed({ name, onError }: ServiceConfig, error: unknown): Outcome | undefined {
    if (!(error instanceof ScannerError)) throw error;
    this.#log.warn({ service: name, reason: error.message }, "policy service failed");
    if (onError === "accept") return undefined;
    const text = "Policy service is not available, try again later";
    return outcome.defer({ code: 451, enhanced: "4.3.5", text, origin: `policy service ${name}` });
  }
}

/** Attributes of SMTPD_POLICY_README for the RCPT stage. */
function attributesOf({ client, clientName, envelope, recipient, transaction }: ServiceQuestion): PolicyAttributes {
  return {
    protocol_state: "RCPT",
    protocol_name: client.esmtp ? "ESMTP" : "SMTP",
    helo_name: client.ehlo,
    queue_id: "",
    sender: envelope.mailFrom,
    recipient,
    recipient_count: "0",
    client_address: client.remoteIp,
    client_name: clientName || "unknown",
    reverse_client_name: clientName || "unknown",
    // The same for all recipients of a message, so that a service can tell repetition from retry.
    instance: `${client.sessionId}.${transaction}`,
    sasl_username: client.authUser,
    size: String(envelope.declaredSize),
    encryption_protocol: client.tls.split(" ")[0] ?? "",
  };
}
