/**
 * The SMTP envelope as the whole house uses it (RFC 5321 §2.3.1, RFC 3461, RFC 6152, RFC 6531, RFC 8689).
 * Invariants: addresses are without angle brackets; the null reverse-path is ""; domains keep the case they came in
 * and are compared with `sameDomain`. These are plain data: they cross thread and process borders as JSON.
 */

export interface Recipient {
  /** Forward-path without brackets, e.g. "bob@example.org". */
  address: string;
  /** RFC 3461 ORCPT as given ("rfc822;bob@example.org"), xtext-decoded, or absent. */
  orcpt?: string;
  /** RFC 3461 NOTIFY words, upper case; absent = not given. */
  notify?: ReadonlyArray<"NEVER" | "SUCCESS" | "FAILURE" | "DELAY">;
  /** Route override set by policy in onRcptTo (smtpfilters.md §8.1). */
  route?: RouteOverride;
}

export interface RouteOverride {
  host: string;
  port: number;
  implicitTls?: boolean;
  startTls?: boolean;
  tlsVersions?: string;
  authUser?: string;
  authPass?: string;
  authTypes?: string;
  localAddress?: string;
}

export interface Envelope {
  /** Reverse-path without brackets; "" is the null reverse-path. */
  mailFrom: string;
  rcptTo: Recipient[];
  /** SIZE= as declared by the client, octets; 0 = not declared. */
  declaredSize: number;
  body: "7BIT" | "8BITMIME" | "BINARYMIME";
  smtpUtf8: boolean;
  requireTls: boolean;
  /** RFC 3461 RET and ENVID. */
  ret?: "FULL" | "HDRS";
  envid?: string;
  /** RFC 2852 DELIVERBY: absolute deadline (ms since epoch) and mode. */
  deliverBy?: { deadline: number; mode: "N" | "R"; trace: boolean };
  /** RFC 4865 FUTURERELEASE: not before (ms since epoch). */
  holdUntil?: number;
  /** RFC 6710 MT-PRIORITY, -9..9. */
  priority?: number;
}

/** What is known of the client that brought a message; travels with the message. */
export interface ClientInfo {
  remoteIp: string;
  remotePort: number;
  localIp: string;
  localPort: number;
  /** EHLO/HELO argument, "" before it was given. */
  ehlo: string;
  esmtp: boolean;
  /** TLS protocol and cipher ("TLSv1.3 TLS_AES_256_GCM_SHA384"), "" in plain text. */
  tls: string;
  /** Authenticated identity, "" when none. */
  authUser: string;
  /** RFC 3848 protocol word for Received: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, LMTP... */
  protocol: string;
  sessionId: string;
  /** Id of the record of this transaction's decision, where decisions are recorded. */
  decisionId?: string;
}

/** Domain part in lower case without a trailing dot; "" when the address has none. */
export function domainOf(address: string): string {
  const at = address.lastIndexOf("@");
  return at < 0
    ? ""
    : address
        .slice(at + 1)
        .toLowerCase()
        .replace(/\.$/, "");
}

/** Local part as given; the whole address when it has no "@". */
export function localPartOf(address: string): string {
  const at = address.lastIndexOf("@");
  return at < 0 ? address : address.slice(0, at);
}
