/**
 * DANE for SMTP (RFC 7672): TLSA records, found with DNSSEC, say which certificate a host has.
 * Invariants: records count only when DNSSEC vouched for them; usages other than DANE-TA(2) and DANE-EE(3) are
 * unusable (§3.1.3); DANE-EE looks at neither names nor dates (§3.1.1), DANE-TA at both (§3.1.2).
 */
import { createHash, timingSafeEqual, X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import type { RecordData, Resolver } from "../../dns/types.ts";

export type Tlsa = RecordData["TLSA"];

/** Longest chain looked at. */
const maxChain = 10;

/**
 * TLSA records of host and port: usable ones, "unusable" when there are only others, undefined when there are none or
 * DNSSEC does not vouch for the answer. Throws DnsError when DNS gives no answer.
 */
export async function lookUpTlsa(
  resolver: Resolver,
  host: string,
  port: number,
): Promise<Tlsa[] | "unusable" | undefined> {
  const answer = await resolver.resolve(`_${port}._tcp.${host}`, "TLSA");
  if (!answer.authenticated || answer.records.length === 0) return undefined;
  const usable = answer.records.filter(isUsable);
  return usable.length > 0 ? usable : "unusable";
}

function isUsable(record: Tlsa): boolean {
  const { usage, selector, matchingType, data } = record;
  const length = matchingType === 1 ? 32 : matchingType === 2 ? 64 : data.length;
  return (usage === 2 || usage === 3) && selector <= 1 && matchingType <= 2 && data.length === length && length > 0;
}

/** Undefined when the host's chain satisfies one of the records, else the reason and its RFC 8460 result type. */
export function verifyDane(
  records: readonly Tlsa[],
  names: readonly string[],
  socket: TLSSocket,
  now: number = Date.now(),
): { reason: string; result: string } | undefined {
  const chain = chainOf(socket);
  const [leaf] = chain;
  if (leaf === undefined) return { reason: "the host shows no certificate", result: "validation-failure" };
  if (records.some((record) => record.usage === 3 && matches(record, leaf))) return undefined;
  for (const anchor of records.filter((record) => record.usage === 2)) {
    const at = chain.findIndex((certificate) => matches(anchor, certificate));
    if (at < 0 || !isSound(chain.slice(0, at + 1), now)) continue;
    if (names.some((name) => leaf.checkHost(name) !== undefined)) return undefined;
    return { reason: "certificate does not name the host", result: "certificate-host-mismatch" };
  }
  return { reason: "no TLSA record matches the certificate", result: "validation-failure" };
}

function chainOf(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let peer = socket.getPeerCertificate(true) as ReturnType<TLSSocket["getPeerCertificate"]> | undefined;
  const seen = new Set<string>();
  while (peer?.raw && chain.length < maxChain && !seen.has(peer.fingerprint256)) {
    seen.add(peer.fingerprint256);
    chain.push(new X509Certificate(peer.raw));
    peer = (peer as { issuerCertificate?: typeof peer }).issuerCertificate;
  }
  return chain;
}

function matches(record: Tlsa, certificate: X509Certificate): boolean {
  const selected =
    record.selector === 0 ? certificate.raw : certificate.publicKey.export({ type: "spki", format: "der" });
  const given = Buffer.from(record.data);
  const own =
    record.matchingType === 0
      ? selected
      : createHash(record.matchingType === 1 ? "sha256" : "sha512")
          .update(selected)
          .digest();
  return own.length === given.length && timingSafeEqual(own, given);
}

/** Each certificate is signed by the next one and within its dates. */
function isSound(chain: readonly X509Certificate[], now: number): boolean {
  return chain.every((certificate, index) => {
    const issuer = chain[index + 1];
    const current = Date.parse(certificate.validFrom) <= now && now <= Date.parse(certificate.validTo);
    return (
      current && (issuer === undefined || (certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)))
    );
  });
}
