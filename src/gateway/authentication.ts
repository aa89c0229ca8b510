/**
 * Authentication-Results (RFC 8601) and Received-SPF (RFC 7208 §9.1) of received mail: fields that pretend to be ours
 * are taken out, and what the checks found is written on top.
 * Invariants: our authserv-id is `server.name`; nothing is asked for here that a check has not found already.
 * Failure: none.
 */
import { authenticationResults, spfAuthResult } from "../checks/authenticate.ts";
import { type AuthResult, formatAuthenticationResults, isForgedAuthenticationResults } from "../checks/authres.ts";
import type { Findings } from "../checks/facts.ts";
import type { HeaderEdit } from "../message/edit.ts";
import type { HeaderSection } from "../message/headers.ts";
import { levelHeaders } from "../scanners/scores.ts";

/** Fields in which our scanners leave their levels, lower case. */
const levelFields = new Set(Object.values(levelHeaders).map((name) => name.toLowerCase()));

/** Fields in which a receiver tells its readers what BIMI found. */
const indicatorFields = new Set(["bimi-location", "bimi-indicator"]);

/**
 * The section without the fields that only we may write: those that claim our authserv-id (RFC 8601 §5), and, unless
 * `trusted` sent them, the levels of scanners (RFC 5235 §2 builds on them) and what BIMI found. The same octets when there is none.
 */
export function withoutForgedFields(
  header: Buffer,
  { fields }: HeaderSection,
  authservId: string,
  trusted: boolean,
): Buffer {
  const ours = new Set([authservId.toLowerCase()]);
  const forged = fields.filter(
    ({ lower, bytes }) =>
      (!trusted && (levelFields.has(lower) || indicatorFields.has(lower))) ||
      (lower === "authentication-results" &&
        isForgedAuthenticationResults({ name: lower, raw: bytes.toString("latin1").trimEnd() }, ours)),
  );
  if (forged.length === 0) return header;
  const kept: Buffer[] = [];
  let from = 0;
  for (const { start, end } of forged) {
    kept.push(header.subarray(from, start));
    from = end;
  }
  return Buffer.concat([...kept, header.subarray(from)]);
}

/**
 * The fields that tell what was found; none when nothing was checked. `failed`: the whole authentication was wanted
 * and could not be made. `spfWritten`: the policy has written a Received-SPF of its own.
 */
export function findingEdits(
  { spf, receivedSpf, authentication }: Findings,
  authservId: string,
  { failed, spfWritten }: { failed: boolean; spfWritten: boolean },
): HeaderEdit[] {
  const results: AuthResult[] = authentication ? authenticationResults(authentication) : [];
  if (!authentication && spf) results.push(spfAuthResult(spf));
  if (!authentication && failed) results.push({ method: "dmarc", result: "temperror", properties: [] });
  if (results.length === 0) return [];
  const value = formatAuthenticationResults({ authservId, results }, false);
  const edits: HeaderEdit[] = [{ op: "add", name: "Authentication-Results", value, at: "top" }];
  if (receivedSpf !== undefined && !spfWritten) {
    edits.push({ op: "add", name: "Received-SPF", value: receivedSpf, at: "top" });
  }
  return edits;
}
