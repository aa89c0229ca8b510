/**
 * Suite `dkim`: verification of recorded messages with recorded DNS. "legacy" cases verify cryptographically, yet
 * RFC 8301 forbids what they use, so a strict verifier must not pass them. Read otherwise: messages signed by drafts
 * (v= missing, q=dns; "mine_ietf01_4") pass in the data, while RFC 6376 §6.1.1 says that they must not.
 */
import type { ZoneEntry } from "../../dns/zone.ts";
import { zoneResolver } from "../../dns/zone.ts";
import type { Suite } from "../../telemetry/suite.ts";
import { type DkimResult, verifyDkim } from "../dkim/verify.ts";
import { readMessage, toCrlf } from "../message.ts";
import { caseContext, readCases, runCases } from "./case.ts";

interface DkimCase {
  file: string;
  result: "pass" | "fail" | "invalid";
  use: "yes" | "legacy";
  message_base64: string;
}

function zoneEntry(value: string): ZoneEntry[] | undefined {
  if (value === "NXDOMAIN") return undefined;
  if (value.startsWith("~~")) return [{ failure: /timed out/i.test(value) ? "timeout" : "servfail" }];
  return [{ TXT: value === '""' ? "" : value }];
}

/** One word for all signatures, as the data's author sums them up: any pass wins, then fail. */
function summary(results: readonly DkimResult[]): string {
  if (results.some(({ result }) => result === "pass")) return "pass";
  if (results.some(({ result }) => result === "fail")) return "fail";
  return "invalid";
}

export const dkimSuite: Suite = {
  name: "dkim",
  async run(dir) {
    const data = await readCases<{ dns: Record<string, string>; cases: DkimCase[] }>(dir);
    const zone = new Map<string, ZoneEntry[]>();
    for (const [name, value] of Object.entries(data.dns)) {
      const entries = zoneEntry(value);
      if (entries !== undefined) zone.set(name.toLowerCase(), entries);
    }
    const ctx = caseContext(zoneResolver(zone));
    return runCases(
      "dkim",
      data.cases,
      (c) => c.file,
      async (c) => {
        const message = await readMessage(toCrlf(Buffer.from(c.message_base64, "base64")), ctx.budget);
        const results = await verifyDkim(message, ctx);
        const actual = summary(results);
        const reasons = results.map(({ result, reason }) => `${result} ${reason}`).join("; ");
        if (c.use === "legacy") return actual === "pass" ? "RFC 8301 forbids it, and it passed" : "";
        return actual === c.result ? "" : `${actual} (${reasons}), expected ${c.result}`;
      },
    );
  },
};
