/**
 * What the house asks of DNS. Implementations: `resolver.ts` (dns2 packets over UDP/TCP) and test doubles in memory.
 * Failure: `DnsError` with a kind; "no data" and "no such domain" are answers (empty `records`), not errors, with
 * `nxdomain` telling them apart. Answers are hostile input: implementations bound counts and sizes by the Budget.
 */

export type RecordType = "A" | "AAAA" | "MX" | "TXT" | "PTR" | "TLSA" | "SRV" | "CAA" | "CNAME" | "NS" | "SOA";

export interface RecordData {
  A: string;
  AAAA: string;
  MX: { preference: number; exchange: string };
  /** Character-strings of one record already joined without a separator; bytes as latin1 code units. */
  TXT: string;
  PTR: string;
  TLSA: { usage: number; selector: number; matchingType: number; data: Uint8Array };
  SRV: { priority: number; weight: number; port: number; target: string };
  CAA: { flags: number; tag: string; value: string };
  CNAME: string;
  NS: string;
  SOA: { minimum: number };
}

export interface DnsAnswer<T extends RecordType> {
  records: ReadonlyArray<RecordData[T]>;
  nxdomain: boolean;
  /** AD bit of a validating upstream (RFC 4035). */
  authenticated: boolean;
  /** Seconds this answer may still be used. */
  ttl: number;
  /** "cache", or "address:port" of the name server that was asked; absent when there was none. */
  source?: string;
  /** The owner name the records were found at, after CNAMEs. */
  canonicalName: string;
}

export interface QueryOptions {
  /** Deadline for the whole look-up, ms. */
  timeoutMs?: number;
}

export interface Resolver {
  resolve<T extends RecordType>(name: string, type: T, options?: QueryOptions): Promise<DnsAnswer<T>>;
  close(): void;
}

export class DnsError extends Error {
  readonly kind: "timeout" | "servfail" | "refused" | "malformed" | "network" | "limit";
  constructor(kind: DnsError["kind"], message: string) {
    super(message);
    this.name = "DnsError";
    this.kind = kind;
  }
}
