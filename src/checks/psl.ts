/**
 * Registrable domains by the public suffix list (tldts), for everything but DMARC, which walks the DNS instead:
 * URI lists, grouping, throttling. Private suffixes count as suffixes, as the list's own test vectors want.
 * Failure: undefined for a suffix, an address or no name.
 */
import { getDomain } from "tldts";

/** "www.example.co.uk" → "example.co.uk". Accepts U-labels and A-labels; answers lower case in the form given. */
export function registrableDomain(name: string): string | undefined {
  if (name.startsWith(".")) return undefined;
  return getDomain(name, { allowPrivateDomains: true, validateHostname: false, extractHostname: false })?.toLowerCase();
}
