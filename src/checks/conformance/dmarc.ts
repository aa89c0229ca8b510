/**
 * Suite `dmarc`: recorded inputs and expectations. The expectations are paths into another library's result, so a view
 * of our result under those names is made first; what RFC 9989 dropped (pct) is read from the record's text.
 */
import type { Resolver } from "../../dns/types.ts";
import { type ZoneEntry, zoneResolver } from "../../dns/zone.ts";
import type { Suite } from "../../telemetry/suite.ts";
import { formatAuthenticationResults } from "../authres.ts";
import { checkDmarc, type DmarcResult, dmarcAuthResult } from "../dmarc/check.ts";
import { caseContext, expectEqual, readCases, runCases } from "./case.ts";

type JsonDomain = string | { domain: string; underSized?: number };

interface DmarcInputJson {
  headerFrom: string | string[];
  dkimDomains: JsonDomain[];
  spfDomains: JsonDomain[];
  arcResult?: { status: { result: string } };
  zone: Record<string, Record<string, string | string[] | string[][]>>;
}

interface Expectation {
  path: string;
  op: string;
  value?: unknown;
  input: number;
}

interface DmarcCase {
  suite?: string;
  name: string;
  inputs: DmarcInputJson[];
  expect: Expectation[];
}

function zoneOf(json: DmarcInputJson["zone"]): Map<string, ZoneEntry[]> {
  const zone = new Map<string, ZoneEntry[]>();
  for (const [name, types] of Object.entries(json)) {
    const entries = Object.entries(types).flatMap(([type, records]): ZoneEntry[] => {
      if (typeof records === "string") return [{ failure: /TIMEOUT/.test(records) ? "timeout" : "servfail" }];
      return records.map((record) => ({ [type]: Array.isArray(record) ? record.join("") : record }) as ZoneEntry);
    });
    zone.set(name.toLowerCase(), entries);
  }
  return zone;
}

/** Remembers the TXT names asked for, in order. */
function recording(resolver: Resolver, names: string[]): Resolver {
  return {
    resolve(name, type, options) {
      if (type === "TXT") names.push(name);
      return resolver.resolve(name, type, options);
    },
    close: () => resolver.close(),
  };
}

/** Our result under the names that the data uses. */
function view(dmarc: DmarcResult, arc: string | undefined): Record<string, unknown> {
  const auth = dmarcAuthResult(dmarc, arc === undefined ? [] : [`arc=${arc}`]);
  const { record, policy } = dmarc;
  const alignment = ({ strict, domain, unsignedOctets }: DmarcResult["dkim"]) => ({
    strict,
    ...(domain === undefined ? {} : { result: domain }),
    underSized: unsignedOctets,
  });
  return {
    status: { result: dmarc.result, comment: auth.comment, header: { from: dmarc.fromDomain, d: dmarc.domain } },
    domain: dmarc.domain,
    ...(policy === undefined ? {} : { policy }),
    ...(record === undefined ? {} : { p: record.p, sp: record.sp ?? record.p, rr: record.text }),
    ...(dmarc.result === "temperror" ? { error: dmarc.reason.split(":")[0] } : {}),
    alignment: { dkim: alignment(dmarc.dkim), spf: alignment(dmarc.spf) },
    info: formatAuthenticationResults({ authservId: "x", results: [auth] }, false),
  };
}

interface Outcome {
  result: DmarcResult;
  view: Record<string, unknown>;
  names: string[];
}

async function evaluate(input: DmarcInputJson): Promise<Outcome> {
  const names: string[] = [];
  const ctx = caseContext(recording(zoneResolver(zoneOf(input.zone)), names));
  const from = Array.isArray(input.headerFrom) ? input.headerFrom : [input.headerFrom];
  const domains = (list: JsonDomain[]) => list.map((d) => (typeof d === "string" ? { domain: d } : d));
  const result = await checkDmarc(
    {
      fromDomains: from.map((address) => address.slice(address.lastIndexOf("@") + 1)),
      dkim: domains(input.dkimDomains).map(({ domain, underSized }) => ({ domain, unsignedOctets: underSized ?? 0 })),
      spfDomain: domains(input.spfDomains)[0]?.domain ?? "",
    },
    ctx,
  );
  return { result, view: view(result, input.arcResult?.status.result), names };
}

function valueAt(root: unknown, path: string): unknown {
  let value = root;
  for (const key of path.split(".")) value = (value as Record<string, unknown> | undefined)?.[key];
  return value;
}

function check({ path, op, value }: Expectation, outcome: Outcome): string {
  const steps = path.replace(/^result\.?/, "");
  const pct = () => Number(outcome.result.record?.tags.get("pct"));
  const actual =
    path === "(value)"
      ? outcome.names
      : steps === ""
        ? outcome.view
        : steps === "pct"
          ? pct()
          : valueAt(outcome.view, steps);
  switch (op) {
    case "equal":
    case "deep":
      return expectEqual(path, actual, value);
    case "true":
      return expectEqual(path, actual, true);
    case "false":
      return expectEqual(path, actual, false);
    case "undefined":
    case "not.ok":
    case "not.exist":
      return actual ? `${path}: got ${String(actual)}` : "";
    case "ok":
    case "exist":
      return actual ? "" : `${path}: missing`;
    case "a":
      return typeof actual === "string" ? "" : `${path}: no string`;
    case "contain":
    case "include":
      return String(actual).includes(String(value)) ? "" : `${path}: ${String(actual)} lacks ${String(value)}`;
    case "no.property":
      return String(value) in (actual as object) ? `${path} has ${String(value)}` : "";
    case "property":
      return String(value) in (actual as object) ? "" : `${path} lacks ${String(value)}`;
    default:
      return `unknown expectation ${op}`;
  }
}

export const dmarcSuite: Suite = {
  name: "dmarc",
  async run(dir) {
    const { cases } = await readCases<{ cases: DmarcCase[] }>(dir);
    return runCases(
      "dmarc",
      cases,
      (c) => c.name,
      async (c) => {
        const outcomes = await Promise.all(c.inputs.map(evaluate));
        for (const expectation of c.expect) {
          const reason = check(expectation, outcomes[expectation.input]!);
          if (reason !== "") return reason;
        }
        return "";
      },
    );
  },
};
