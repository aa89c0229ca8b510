/**
 * Routes and next hops (smtpfilters.md §8.1, RFC 5321 §5). A route is decided per recipient; recipients with the same
 * next hop share one transaction.
 */
import type { Outcome } from "../message/outcome.ts";
import type { BodySource, QueuedMessage } from "../queue/types.ts";

/**
 * "required" = TLS with a certificate valid for the host; "encrypt" = TLS with any certificate; "dane" and "mta-sts" =
 * what the recipient domain publishes, and TLS without delivery in clear when it publishes nothing usable.
 */
export type TlsPolicy = "none" | "opportunistic" | "encrypt" | "required" | "dane" | "mta-sts";

export interface NextHop {
  kind: "smtp" | "lmtp" | "store" | "error";
  /** Host name, or bracketed literal ("[192.0.2.7]"); "" = MX of `domain`. */
  host: string;
  port: number;
  /** Recipient domain that led here. */
  domain: string;
  implicitTls: boolean;
  tls: TlsPolicy;
  tlsVersions: string;
  authUser: string;
  authPass: string;
  authTypes: string;
  localAddress: string;
  /** kind "error": the answer. */
  outcome?: Outcome;
  /** Why this hop: "domains.routes", "smart host", "mx", "policy onRelay line 12"... */
  origin: string;
  /** DKIM signatures that policy asked for in onRelay. */
  signatures?: readonly SignatureRequest[];
  /** Next hops to try, in order, when this one can't be reached. */
  fallbacks?: readonly NextHop[];
}

/** A DKIM signature that a script asked for. */
export interface SignatureRequest {
  domain: string;
  selector: string;
  keyPath: string;
}

/** Signs a message on its way out: the last to touch it. Rejects when a key can't be used. */
export type Seal = (
  message: QueuedMessage,
  body: BodySource,
  requests: readonly SignatureRequest[],
) => Promise<BodySource>;

/** A host to connect to, with its addresses; the result of resolving a next hop. */
export interface Candidate {
  /** Name without brackets, or the address itself for a literal. */
  host: string;
  addresses: readonly string[];
  port: number;
  /** DNSSEC vouched for every answer that led here (MX, CNAME, address). */
  authenticated: boolean;
}
