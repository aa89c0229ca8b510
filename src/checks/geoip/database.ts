/**
 * Country and network of an address, from an MMDB file (MaxMind DB format 2.0) or a CSV of address ranges.
 * Invariant: a database that is in use has answered a probe; IPv4-mapped IPv6 counts as IPv4. Failure: opening throws
 * GeoDatabaseError for a file that can't be read or parsed; a look-up that meets broken data answers nothing.
 */
import { Reader, type Response } from "maxmind";
import { type Address, addressText, parseAddress } from "../address.ts";

export interface GeoAnswer {
  /** ISO 3166 code in upper case, "" when unknown. */
  country: string;
  /** English name when the database holds one. */
  countryName: string;
  /** Two-letter continent, "" when unknown. */
  continent: string;
  /** Autonomous system number, 0 when unknown. */
  asn: number;
  asnName: string;
}

export interface GeoDatabase {
  lookup(ip: string): GeoAnswer;
}

export class GeoDatabaseError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "GeoDatabaseError";
  }
}

const unknown: GeoAnswer = Object.freeze({ country: "", countryName: "", continent: "", asn: 0, asnName: "" });

/** Fields of the databases in use: MaxMind's, DB-IP's, and the flat ones of ip-location-db. */
interface Row {
  country?: { iso_code?: unknown; names?: Record<string, unknown> };
  continent?: { code?: unknown };
  country_code?: unknown;
  autonomous_system_number?: unknown;
  autonomous_system_organization?: unknown;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

export function openMmdb(bytes: Buffer): GeoDatabase {
  let reader: Reader<Response>;
  try {
    reader = new Reader(bytes);
    reader.get("192.0.2.1"); // a broken tree or data section shows here at the latest
  } catch (error) {
    throw new GeoDatabaseError("not a usable MMDB file", { cause: error });
  }
  return {
    lookup(ip) {
      const address = parseAddress(ip);
      if (address === undefined) return unknown;
      if (address.family === 6 && reader.metadata.ipVersion === 4) return unknown;
      let row: Row | null;
      try {
        row = reader.get(addressText(address)) as Row | null;
      } catch {
        return unknown; // damage in a part of the file that the probe did not touch
      }
      if (row === null || typeof row !== "object") return unknown;
      return {
        country: (text(row.country?.iso_code) || text(row.country_code)).toUpperCase(),
        countryName: text(row.country?.names?.en),
        continent: text(row.continent?.code),
        asn: typeof row.autonomous_system_number === "number" ? row.autonomous_system_number : 0,
        asnName: text(row.autonomous_system_organization),
      };
    },
  };
}

/** Ranges of one family, sorted, as fixed-width hexadecimal so that strings compare like numbers. */
interface Ranges {
  starts: string[];
  ends: string[];
  countries: string[];
}

function hex(address: Address): string {
  return Buffer.from(address.octets).toString("hex");
}

/** "3221225984" as some CSV files write IPv4. */
function csvAddress(word: string): Address | undefined {
  if (!/^\d{1,10}$/.test(word)) return parseAddress(word);
  const value = Number(word);
  if (value > 0xffffffff) return undefined;
  return { family: 4, octets: [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255] };
}

/**
 * CSV with first address, last address and country code as the first three columns (further columns are ignored).
 * Lines that do not fit are counted; a file of such lines alone is refused.
 */
export function openCsv(csv: string): GeoDatabase & { skipped: number } {
  const rows: Array<{ family: 4 | 6; start: string; end: string; country: string }> = [];
  let skipped = 0;
  for (const line of csv.split(/\r?\n/)) {
    if (line === "" || line.startsWith("#")) continue;
    const [first, last, country] = line.split(",").map((cell) => cell.trim().replace(/^"|"$/g, ""));
    const from = csvAddress(first ?? "");
    const to = csvAddress(last ?? "");
    if (from === undefined || to === undefined || from.family !== to.family || !/^[A-Za-z]{2}$/.test(country ?? "")) {
      skipped += 1;
      continue;
    }
    rows.push({ family: from.family, start: hex(from), end: hex(to), country: country!.toUpperCase() });
  }
  if (rows.length === 0) throw new GeoDatabaseError("no line of the CSV is a range with a country");
  rows.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const families: Record<4 | 6, Ranges> = {
    4: { starts: [], ends: [], countries: [] },
    6: { starts: [], ends: [], countries: [] },
  };
  for (const { family, start, end, country } of rows) {
    families[family].starts.push(start);
    families[family].ends.push(end);
    families[family].countries.push(country);
  }
  return {
    skipped,
    lookup(ip) {
      const address = parseAddress(ip);
      if (address === undefined) return unknown;
      const country = countryIn(families[address.family], hex(address));
      return country === "" ? unknown : { ...unknown, country };
    },
  };
}

/** Binary search for the last range that starts at or before the address. */
function countryIn(ranges: Ranges, address: string): string {
  let low = 0;
  let high = ranges.starts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ranges.starts[middle]! <= address) low = middle + 1;
    else high = middle;
  }
  const index = low - 1;
  return index >= 0 && address <= ranges.ends[index]! ? ranges.countries[index]! : "";
}
