/** A check context over a zone written as `{ name: { TYPE: [data…] } }`, with a log of what was asked. */

import type { CheckContext } from "../../../src/checks/types.ts";
import { type BudgetField, budgetWith } from "../../../src/config/budget.ts";
import type { DnsError, RecordData, RecordType } from "../../../src/dns/types.ts";
import { type ZoneEntry, zoneResolver } from "../../../src/dns/zone.ts";

export type TestZone = Record<string, { [T in RecordType]?: ReadonlyArray<RecordData[T]> } | DnsError["kind"]>;

export function contextFor(
  zone: TestZone,
  limits: Partial<Record<BudgetField, number>> = {},
  now = Date.UTC(2026, 10, 20),
): CheckContext & { asked: string[] } {
  const entries = new Map<string, ZoneEntry[]>();
  for (const [name, value] of Object.entries(zone)) {
    entries.set(
      name.toLowerCase(),
      typeof value === "string"
        ? [{ failure: value }]
        : Object.entries(value).flatMap(([type, list]) => list.map((data) => ({ [type]: data }) as ZoneEntry)),
    );
  }
  const inner = zoneResolver(entries);
  const asked: string[] = [];
  return {
    asked,
    resolver: {
      resolve(name, type, options) {
        asked.push(`${type} ${name.toLowerCase()}`);
        return inner.resolve(name, type, options);
      },
      close() {},
    },
    budget: budgetWith(limits),
    hostName: "mx.example.net",
    now: () => now,
  };
}
