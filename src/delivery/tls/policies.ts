/**
 * The TLS protection of each connection, from the hop's policy and what the recipient domain publishes.
 * Failure: an SmtpError of stage "tls" where a demanded policy can't be met; the caller tries the next host.
 */
import type { SmtpError } from "../../smtp/outgoing/error.ts";
import type { Candidate, NextHop } from "../types.ts";
import { type Protection, plainProtection } from "./demand.ts";

export interface TlsSettings {
  /** Trusted roots in PEM instead of the built-in ones. */
  ca?: readonly string[];
}

export class TlsPolicies {
  readonly #settings: TlsSettings;

  constructor(settings: TlsSettings) {
    this.#settings = settings;
  }

  async protectionFor(hop: NextHop, _candidate: Candidate): Promise<Protection | SmtpError> {
    return plainProtection(hop, this.#settings.ca);
  }

  /** Counts a connection's TLS success (`result` undefined) or failure. */
  note(_hop: NextHop, _candidate: Candidate, _protection: Protection, _result: string | undefined): void {}
}
