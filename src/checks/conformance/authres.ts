/** Suite `authres`: RFC 8601 fields read, and written again in the data's normal form. */
import type { Suite } from "../../telemetry/suite.ts";
import { formatAuthenticationResults, parseAuthenticationResults } from "../authres.ts";
import { expectEqual, readCases, runCases } from "./case.ts";

interface AuthresCase {
  header: string;
  error?: string;
  authserv_id?: string;
  version?: string | null;
  results?: Array<{
    method: string;
    version: string | null;
    result: string;
    reason: string | null;
    properties: Array<{ type: string; name: string; value: string }>;
  }>;
  normalized?: string;
}

export const authresSuite: Suite = {
  name: "authres",
  async run(dir) {
    const cases = await readCases<AuthresCase[]>(dir);
    return runCases(
      "authres",
      cases,
      (c) => c.header,
      (c) => {
        const parsed = parseAuthenticationResults(c.header.slice(c.header.indexOf(":") + 1));
        if (c.error !== undefined) return parsed === undefined ? "" : "accepted";
        if (parsed === undefined) return "refused";
        const results = parsed.results.map(({ method, version, result, reason, properties }) => ({
          method,
          version: version ?? null,
          result,
          reason: reason ?? null,
          properties,
        }));
        const expected = (c.results ?? []).map(({ method, version, result, reason, properties }) => ({
          method,
          version,
          result,
          reason,
          properties: properties.map(({ type, name, value }) => ({ type, name, value })),
        }));
        return (
          expectEqual("authserv-id", parsed.authservId, c.authserv_id) ||
          expectEqual("version", parsed.version ?? null, c.version ?? null) ||
          expectEqual("results", results, expected) ||
          expectEqual("written", `Authentication-Results: ${formatAuthenticationResults(parsed, false)}`, c.normalized)
        );
      },
    );
  },
};
