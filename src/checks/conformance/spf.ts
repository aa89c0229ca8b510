/** Suite `spf`: RFC 7208 check_host() over the published test zones. */
import type { ZoneEntry } from "../../dns/zone.ts";
import { zoneResolver } from "../../dns/zone.ts";
import type { Suite } from "../../telemetry/suite.ts";
import { checkSpf } from "../spf/check.ts";
import { caseContext, expectEqual, readCases, runCases } from "./case.ts";

type JsonRecord = "TIMEOUT" | { [type: string]: string | string[] | [number, string] };

interface SpfCase {
  scenario: string;
  name: string;
  ip: string;
  helo: string;
  mailFrom: string;
  result: string[];
  explanation: string | null;
  zone: Record<string, JsonRecord[]>;
}

function zoneEntries(records: readonly JsonRecord[]): ZoneEntry[] {
  const has = (type: string) => records.some((record) => typeof record === "object" && type in record);
  // TIMEOUT stands for each type that the name does not list; type 99 (SPF) is no TXT then.
  const hasText = records.some((record) => typeof record === "object" && "TXT" in record && record.TXT !== "NONE");
  if (records.includes("TIMEOUT") && !hasText) return [{ failure: "timeout" }];
  return records.flatMap((record): ZoneEntry[] => {
    if (record === "TIMEOUT") return [];
    const [type, value] = Object.entries(record)[0]!;
    if (type === "MX") return [{ MX: { preference: Number(value[0]), exchange: String(value[1]) } }];
    if (value === "NONE") return []; // the name has no record of this type; SPF does not stand for it
    const text = Array.isArray(value) ? value.join("") : value;
    // Type 99 is gone (RFC 7208 §3.1): the data's SPF records stand for TXT unless there are some.
    if (type === "SPF") return has("TXT") ? [] : [{ TXT: text }];
    return [{ [type]: text } as ZoneEntry];
  });
}

export const spfSuite: Suite = {
  name: "spf",
  async run(dir) {
    const { cases } = await readCases<{ cases: SpfCase[] }>(dir);
    return runCases(
      "spf",
      cases,
      (c) => `${c.scenario}: ${c.name}`,
      async (c) => {
        const zone = new Map(
          Object.entries(c.zone).map(([name, records]) => [name.toLowerCase(), zoneEntries(records)]),
        );
        const spf = await checkSpf({ ip: c.ip, helo: c.helo, mailFrom: c.mailFrom }, caseContext(zoneResolver(zone)));
        if (!c.result.includes(spf.result)) return `${spf.result} (${spf.problem}), expected ${c.result.join(" or ")}`;
        if (c.explanation === null) return "";
        return expectEqual("explanation", spf.explanation, c.explanation === "DEFAULT" ? "" : c.explanation);
      },
    );
  },
};
