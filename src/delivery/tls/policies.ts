/**
 * The TLS protection of each connection: the hop's own policy, raised by what the recipient domain publishes. DANE
 * comes before MTA-STS (RFC 8461 §2); an administrator's "none", "encrypt" or "required" comes before both.
 * Failure: an SmtpError of stage "tls" where a published policy can't be met or not be learnt; the caller tries the
 * next host, and the mail waits.
 */
import { DnsError, type Resolver } from "../../dns/types.ts";
import { outcome } from "../../message/outcome.ts";
import { SmtpError } from "../../smtp/outgoing/error.ts";
import type { SharedState } from "../../state/types.ts";
import type { Candidate, NextHop } from "../types.ts";
import { lookUpTlsa, type Tlsa, verifyDane } from "./dane.ts";
import { type Protection, plainProtection, verifyPkix } from "./demand.ts";
import { type StsBudget, StsPolicies } from "./mta-sts.ts";
import { stsAllows } from "./records.ts";
import type { PolicyType, TlsResults } from "./report.ts";

export interface TlsSettings {
  /** Trusted roots in PEM instead of the built-in ones. */
  ca?: readonly string[];
  /** Look for TLSA records; only sensible with a resolver that validates DNSSEC. Default false. */
  dane?: boolean;
  /** Look for MTA-STS policies. Default false. */
  mtaSts?: boolean;
  /** HTTPS port of policy hosts; anything but 443 is for tests. */
  stsPort?: number;
  /** Counts for TLS reports. */
  reports?: TlsResults;
  /** Keeps MTA-STS policies over restarts and for all workers. */
  state?: Pick<SharedState, "get" | "set">;
}

export class TlsPolicies {
  readonly #settings: TlsSettings;
  readonly #resolver: Resolver;
  readonly #sts: StsPolicies;

  constructor(settings: TlsSettings, resolver: Resolver, budget: StsBudget) {
    this.#settings = settings;
    this.#resolver = resolver;
    const { ca, stsPort, state } = settings;
    this.#sts = new StsPolicies({
      resolver,
      budget,
      ...(ca ? { ca } : {}),
      ...(stsPort ? { port: stsPort } : {}),
      ...(state ? { state } : {}),
    });
  }

  async protectionFor(hop: NextHop, candidate: Candidate): Promise<Protection | SmtpError> {
    const base = plainProtection(hop, this.#settings.ca);
    const open = hop.tls === "opportunistic" || hop.tls === "dane" || hop.tls === "mta-sts";
    if (!open) return base;
    if ((this.#settings.dane || hop.tls === "dane") && candidate.authenticated) {
      const dane = await this.#dane(base, hop, candidate);
      if (dane) return dane;
    }
    // RFC 8461 is about MX hosts: a host the administrator named has no policy of the recipient domain's.
    if ((this.#settings.mtaSts || hop.tls === "mta-sts") && hop.host === "") {
      const sts = await this.#mtaSts(base, hop, candidate);
      if (sts) return sts;
    }
    return base;
  }

  /** Counts a connection's TLS success (`result` undefined) or failure. */
  note(hop: NextHop, candidate: Candidate, policyType: PolicyType, result: string | undefined): void {
    this.#settings.reports?.note(hop.domain, policyType, candidate.host, candidate.addresses[0] ?? "", result);
  }

  async #dane(base: Protection, hop: NextHop, candidate: Candidate): Promise<Protection | SmtpError | undefined> {
    let records: Tlsa[] | "unusable" | undefined;
    try {
      records = await lookUpTlsa(this.#resolver, candidate.host, candidate.port);
    } catch (error) {
      if (!(error instanceof DnsError)) throw error;
      // RFC 7672 §2.1.2: without a TLSA answer an attacker could switch DANE off, so the host is not used.
      return this.#refusal(hop, candidate, "tlsa", `TLSA look-up failed: ${error.message}`, "dnssec-invalid");
    }
    if (records === undefined) return undefined;
    const demand = { ...base.demand, mode: "required" as const };
    // RFC 7672 §2.2: only unusable records still ask for TLS, without authentication.
    if (records === "unusable") return { demand, clearTextFallback: false, policyType: "tlsa" };
    const usable = records;
    const names = [candidate.host, hop.domain];
    const verify: NonNullable<Protection["demand"]["verify"]> = (socket) => verifyDane(usable, names, socket);
    return { demand: { ...demand, verify }, clearTextFallback: false, policyType: "tlsa" };
  }

  async #mtaSts(base: Protection, hop: NextHop, candidate: Candidate): Promise<Protection | SmtpError | undefined> {
    const policy = await this.#sts.policyFor(hop.domain);
    if (!policy) return undefined;
    const allowed = stsAllows(policy, candidate.host);
    if (policy.mode === "enforce") {
      if (!allowed) {
        const text = `${candidate.host} is not in the MTA-STS policy of ${hop.domain}`;
        return this.#refusal(hop, candidate, "sts", text, "validation-failure");
      }
      const demand = { ...base.demand, mode: "required" as const, verify: verifyPkix };
      return { demand, clearTextFallback: false, policyType: "sts" };
    }
    // RFC 8461 §5, mode "testing": failures are counted for reports and do not hinder delivery.
    if (!allowed) this.note(hop, candidate, "sts", "validation-failure");
    const verify: typeof verifyPkix = (socket) => {
      const fault = verifyPkix(socket);
      if (fault) this.note(hop, candidate, "sts", fault.result);
      return undefined;
    };
    return { ...base, demand: { ...base.demand, verify }, policyType: "sts" };
  }

  #refusal(hop: NextHop, candidate: Candidate, policyType: PolicyType, text: string, result: string): SmtpError {
    this.note(hop, candidate, policyType, result);
    return new SmtpError("tls", outcome.defer({ code: 451, enhanced: "4.7.5", text, origin: "engine" }), result);
  }
}
