/**
 * A resolver over a zone in memory: for recorded sessions, conformance data and tests. Same contract as `resolver.ts`:
 * CNAMEs are followed, a missing name is nxdomain, a name with a `failure` entry throws that DnsError.
 */
import { type DnsAnswer, DnsError, type RecordData, type RecordType, type Resolver } from "./types.ts";

export type ZoneEntry = { [T in RecordType]?: RecordData[T] } | { failure: DnsError["kind"] };
/** Lower-case names without the final dot. A name that only has names below it exists without data (RFC 8020). */
export type Zone = ReadonlyMap<string, readonly ZoneEntry[]>;

export function zoneResolver(zone: Zone, authenticated = false): Resolver {
  const parents = new Set<string>();
  for (const name of zone.keys()) {
    for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1)) parents.add(name.slice(dot + 1));
  }

  function find<T extends RecordType>(name: string, type: T): DnsAnswer<T> {
    let current = name.toLowerCase().replace(/\.$/, "");
    for (let hops = 0; hops < 10; hops++) {
      const entries = zone.get(current);
      const records: Array<RecordData[T]> = [];
      let alias: string | undefined;
      for (const entry of entries ?? []) {
        if ("failure" in entry) throw new DnsError(entry.failure, `${entry.failure} for ${current}`);
        const record = (entry as { [K in T]?: RecordData[K] })[type];
        if (record !== undefined) records.push(record);
        else if (entry.CNAME !== undefined) alias = entry.CNAME;
      }
      if (records.length === 0 && alias !== undefined) {
        current = alias.toLowerCase().replace(/\.$/, "");
        continue;
      }
      const nxdomain = entries === undefined && !parents.has(current);
      return { records, nxdomain, authenticated, ttl: 300, canonicalName: current };
    }
    throw new DnsError("limit", `CNAME chain of ${name}`);
  }

  return {
    async resolve(name, type) {
      return find(name, type);
    },
    close() {},
  };
}
