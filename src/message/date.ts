/**
 * Dates of header fields (RFC 5322 §3.3 with the obsolete forms of §4.3), read leniently.
 * Invariants: fields are as written (local to the zone), `epoch` is the instant. Failure: undefined when day, month,
 * year or time can't be found or the date doesn't exist.
 */

export interface MailDate {
  year: number;
  /** 1–12. */
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
  /** Minutes east of UTC. */
  offset: number;
  /** "-0000" or a zone without meaning: the offset is a guess of zero (RFC 5322 §3.3). */
  zoneUnknown: boolean;
  /** Milliseconds since 1970. */
  epoch: number;
}

const months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
// RFC 5322 §4.3
const namedZones: Readonly<Record<string, number>> = {
  ut: 0,
  utc: 0,
  gmt: 0,
  z: 0,
  edt: -240,
  est: -300,
  cdt: -300,
  cst: -360,
  mdt: -360,
  mst: -420,
  pdt: -420,
  pst: -480,
};

const pattern =
  /^\s*(?:[A-Za-z]+\s*,?\s*)?(\d{1,2})[\s-]+([A-Za-z]{3})[A-Za-z]*\.?[\s-]+(\d{2,4})\s*,?\s+(\d{1,2})\s*[:.]\s*(\d{1,2})(?:\s*[:.]\s*(\d{1,3})(?:\.\d+)?)?\s*(?:([+-]\d{4})|([+-]\d{1,2}):(\d{2})|([A-Za-z]+))?/;

/** Parses a date-time as in the Date field (unfolded); comments are ignored. */
export function parseDate(text: string): MailDate | undefined {
  const match = pattern.exec(text.slice(0, 200).replace(/\([^()]*\)/g, " "));
  if (match === null) return undefined;
  const month = months.indexOf(match[2]!.toLowerCase()) + 1;
  const day = Number(match[1]);
  let year = Number(match[3]);
  // RFC 5322 §4.3: two digits up to 49 are 20xx, the rest and three digits count from 1900.
  if (match[3]!.length === 2 && year < 50) year += 2000;
  else if (match[3]!.length < 4) year += 1900;
  const hour = Number(match[4]);
  const minute = Number(match[5]);
  const second = Number(match[6] ?? 0);
  if (month === 0 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59) return undefined;
  const zone = zoneOf(match);
  const epoch = Date.UTC(year, month - 1, day, hour, minute, Math.min(second, 60)) - zone.offset * 60_000;
  return { year, month, day, hour, minute, second, ...zone, epoch };
}

function daysIn(year: number, month: number): number {
  return new Date(Date.UTC(year, month, 0)).getUTCDate();
}

function zoneOf(match: RegExpExecArray): { offset: number; zoneUnknown: boolean } {
  if (match[7] !== undefined) {
    const digits = match[7].slice(1);
    const minutes = Number(digits.slice(0, 2)) * 60 + Number(digits.slice(2));
    return { offset: match[7].startsWith("-") ? -minutes || 0 : minutes, zoneUnknown: match[7] === "-0000" };
  }
  if (match[8] !== undefined) {
    const minutes = Math.abs(Number(match[8])) * 60 + Number(match[9]);
    return { offset: match[8].startsWith("-") ? -minutes : minutes, zoneUnknown: false };
  }
  const named = namedZones[(match[10] ?? "").toLowerCase()];
  return { offset: named ?? 0, zoneUnknown: named === undefined };
}

const dayNames = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const monthNames = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Writes an instant (ms since epoch) as RFC 5322 §3.3 wants it, in UTC. */
export function formatDate(epoch: number): string {
  const d = new Date(epoch);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${dayNames[d.getUTCDay()]}, ${d.getUTCDate()} ${monthNames[d.getUTCMonth()]} ${d.getUTCFullYear()} ${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())} +0000`;
}
