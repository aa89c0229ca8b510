/** Suites `arc-validate` and `arc-sign`: RFC 8617 chains with recorded keys. */

import { zoneResolver } from "../../dns/zone.ts";
import type { Suite } from "../../telemetry/suite.ts";
import { sealArc, validateArc } from "../arc.ts";
import { authenticationResultsOf } from "../authres.ts";
import { BodyHashes } from "../dkim/canonical.ts";
import { signingKey } from "../dkim/sign.ts";
import { parseTags, unfold } from "../dkim/tags.ts";
import { type Message, readMessage, toCrlf } from "../message.ts";
import type { CheckContext } from "../types.ts";
import { caseContext, expectEqual, readCases, runCases } from "./case.ts";

interface ArcCase {
  name: string;
  message: string;
  "txt-records": Record<string, string>;
}

interface ValidateCase extends ArcCase {
  cv: "Pass" | "Fail" | "None" | "";
}

interface SignCase extends ArcCase {
  domain: string;
  sel: string;
  privatekey: string;
  t: number;
  "sig-headers": string;
  "srv-id": string;
  AS: string;
  AMS: string;
  AAR: string;
}

async function load(c: ArcCase): Promise<{ message: Message; ctx: CheckContext }> {
  const records = Object.entries(c["txt-records"] ?? {});
  const ctx = caseContext(zoneResolver(new Map(records.map(([name, TXT]) => [name.toLowerCase(), [{ TXT }]]))));
  return { message: await readMessage(toCrlf(Buffer.from(c.message)), ctx.budget), ctx };
}

export const arcValidateSuite: Suite = {
  name: "arc-validate",
  async run(dir) {
    const { cases } = await readCases<{ cases: ValidateCase[] }>(dir);
    return runCases(
      "arc-validate",
      cases,
      (c) => c.name,
      async (c) => {
        const { message, ctx } = await load(c);
        const arc = await validateArc(message, ctx);
        // The data leaves the verdict open where the newest seal says cv=fail; RFC 8617 §5.2 step 2 says "fail".
        const expected = c.cv === "" && /cv=fail/.test(c.message) ? "fail" : (c.cv || "None").toLowerCase();
        return arc.result === expected ? "" : `${arc.result} (${arc.reason}), expected ${expected}`;
      },
    );
  },
};

/** Tags with white space taken out of the values, sorted: the data says nothing of their order or folding. */
function comparable(value: string): Array<[string, string]> {
  return [...(parseTags(value.replace(/\n/g, " ")) ?? [])]
    .map(([tag, text]): [string, string] => [tag, unfold(text)])
    .sort();
}

export const arcSignSuite: Suite = {
  name: "arc-sign",
  async run(dir) {
    const { cases } = await readCases<{ cases: SignCase[] }>(dir);
    return runCases(
      "arc-sign",
      cases,
      (c) => c.name,
      async (c) => {
        const { message, ctx } = await load(c);
        const hashes = new BodyHashes();
        const body = hashes.get("relaxed", "sha256");
        await hashes.feed(message.body);
        const set = await sealArc(message.fields, {
          key: signingKey(c.domain, c.sel, c.privatekey),
          chain: await validateArc(message, ctx),
          authenticationResults: authenticationResultsOf(message.fields, c["srv-id"]),
          bodyHash: body.digest().toString("base64"),
          headers: c["sig-headers"].toLowerCase().split(":"),
          timestamp: c.t,
        });
        if (set === undefined) return c.AS === "" ? "" : "not sealed";
        return (
          expectEqual("AAR", unfold(set.authenticationResults), unfold(c.AAR)) ||
          expectEqual("AMS", comparable(set.messageSignature), comparable(c.AMS)) ||
          expectEqual("AS", comparable(set.seal), comparable(c.AS))
        );
      },
    );
  },
};
