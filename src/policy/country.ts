/**
 * Verdict of the country filter (smtpfilters.md §5.4): banned when the country is outside a non-empty allowed list or
 * inside a non-empty banned one. Addresses of unknown country are not banned. Pure.
 */
import { hidden } from "./slots.ts";

export function countryVerdict(
  facts: Record<string, string>,
  read: (variable: string) => string,
): Record<string, string> {
  const country = (facts.GeoIPResult ?? "").toUpperCase();
  const allowed = countries(read(hidden.allowedCountries));
  const banned = countries(read(hidden.bannedCountries));
  const isBanned = country !== "" && ((allowed.length > 0 && !allowed.includes(country)) || banned.includes(country));
  return { ...facts, GeoIPResult: country, isGeoIPBanned: isBanned ? "yes" : "no" };
}

/** Codes of ISO 3166, divided by blanks or commas; English names are accepted too (G13). */
function countries(list: string): string[] {
  return list
    .split(/[\s,]+/)
    .filter(Boolean)
    .map((word) =>
      word.length === 2 ? word.toUpperCase() : (codeByName().get(word.toLowerCase()) ?? word.toUpperCase()),
    );
}

let names: Map<string, string> | undefined;

/** Built on first use from the runtime's own table; a name of several words is written with "_" between them. */
function codeByName(): Map<string, string> {
  if (names) return names;
  names = new Map();
  const display = new Intl.DisplayNames("en", { type: "region", fallback: "none" });
  for (let first = 65; first <= 90; first++) {
    for (let second = 65; second <= 90; second++) {
      const code = String.fromCharCode(first, second);
      const name = display.of(code);
      if (name) names.set(name.toLowerCase().replace(/\s+/g, "_"), code);
    }
  }
  return names;
}
