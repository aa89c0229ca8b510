/**
 * Routes and next hops (smtpfilters.md §8.1, RFC 5321 §5). A route is decided per recipient; recipients with the same
 * next hop share one transaction.
 */
import type { Outcome } from "../message/outcome.ts";

export type TlsPolicy = "none" | "opportunistic" | "required" | "dane" | "mta-sts";

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
}
