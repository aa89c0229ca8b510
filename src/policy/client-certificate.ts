/**
 * What the policy is told of a certificate that the client showed under TLS; one place for live sessions, played
 * sessions and proofs. Only `clientCertVerified` and the fingerprint say who the client is: names in a certificate that
 * is not verified are whatever its maker wrote.
 */

export interface ClientCertificate {
  /** Distinguished names on one line, "CN=client.example, O=Example". */
  subject: string;
  issuer: string;
  /** SHA-256, "AB:CD:…". */
  fingerprint: string;
  /** It chains to the listener's `tls.clientCa`. */
  verified: boolean;
}

/** The input variables by name; without a certificate their defaults hold. */
export function certificateInputs(certificate: ClientCertificate): Record<string, string> {
  return {
    clientCertVerified: certificate.verified ? "yes" : "no",
    clientCertSubject: certificate.subject,
    clientCertIssuer: certificate.issuer,
    clientCertFingerprint: certificate.fingerprint,
  };
}
