/**
 * What TLS a connection to a candidate must have: the hop's policy put into the terms of the SMTP client.
 * Invariants: a policy that asks for protection never falls back to clear text; opportunistic TLS never refuses a
 * certificate (RFC 7435), and is the only one for which a failed handshake leads to a clear-text try.
 */
import type { SecureVersion, TLSSocket } from "node:tls";
import type { TlsDemand } from "../../smtp/outgoing/client.ts";
import type { NextHop } from "../types.ts";
import type { PolicyType } from "./report.ts";

export interface Protection {
  demand: TlsDemand;
  /** Clear text is allowed when the handshake fails. */
  clearTextFallback: boolean;
  /** RFC 8460 policy type for reports. */
  policyType: PolicyType;
}

const versionTokens: ReadonlyArray<readonly [string, SecureVersion]> = [
  ["tls1", "TLSv1"],
  ["tls11", "TLSv1.1"],
  ["tls12", "TLSv1.2"],
  ["tls13", "TLSv1.3"],
];

/** "tls12 tls13" → lowest and highest version; without a known token TLS 1.2 and 1.3 (RFC 8996, RFC 9325). */
export function versionRange(tokens: string): { minVersion: SecureVersion; maxVersion: SecureVersion } {
  const wanted = new Set(tokens.toLowerCase().replaceAll("_", "").split(/\s+/));
  const known = versionTokens.filter(([token]) => wanted.has(token)).map(([, version]) => version);
  return { minVersion: known[0] ?? "TLSv1.2", maxVersion: known.at(-1) ?? "TLSv1.3" };
}

/** The certificate must be valid (PKIX) and name the host (RFC 6125). */
export function verifyPkix(socket: TLSSocket): { reason: string; result: string } | undefined {
  if (socket.authorized) return undefined;
  const code = String(socket.authorizationError ?? "unknown");
  return { reason: `certificate refused: ${code}`, result: tlsResultOf(code) };
}

/** OpenSSL's and Node's words to those of RFC 8460 §4.3. */
function tlsResultOf(code: string): string {
  if (code.includes("ALTNAME")) return "certificate-host-mismatch";
  if (code.includes("EXPIRED")) return "certificate-expired";
  return "certificate-not-trusted";
}

/** Protection for the policies that need no look-up. */
export function plainProtection(hop: NextHop, ca: readonly string[] | undefined): Protection {
  const { tls } = hop;
  const demand: TlsDemand = {
    mode: tls === "none" ? "none" : tls === "opportunistic" ? "offered" : "required",
    implicit: hop.implicitTls,
    ...versionRange(hop.tlsVersions),
    ...(ca ? { ca } : {}),
    ...(tls === "required" ? { verify: verifyPkix } : {}),
  };
  return { demand, clearTextFallback: tls === "opportunistic" && !hop.implicitTls, policyType: "no-policy-found" };
}
