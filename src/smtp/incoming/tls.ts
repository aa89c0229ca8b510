/**
 * TLS of a listener: contexts from PEM texts, choice by server name (SNI), client certificates, shared ticket keys.
 * Invariants: TLS 1.2 and 1.3 only, ciphers with forward secrecy and AEAD only (RFC 9325 §4.2); a new set of
 * certificates replaces the old one whole, for connections that begin after it. Failure: a key that doesn't fit its
 * certificate throws at load, so that a broken reload leaves the old set in force.
 */
import { createHash, X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import { printable } from "../../message/outcome.ts";
import type { ClientCertificate } from "../../policy/client-certificate.ts";

export interface CertificatePair {
  /** PEM texts: certificate chain and private key. */
  cert: string;
  key: string;
  /** Server name to show it for beside those it holds. */
  host?: string;
}

export interface ListenerTls {
  mode: "starttls" | "implicit";
  /** The first is shown when the client names no host or an unknown one. */
  certificates: readonly CertificatePair[];
  minVersion?: "TLSv1.2" | "TLSv1.3";
  /** Asks for client certificates and checks them against these CAs (PEM). Never required: policy decides. */
  clientCa?: string;
  /** Names of key exchange groups, best first; absent: OpenSSL's own choice. An unknown name throws at load. */
  groups?: readonly string[];
  /** 48 octets shared by all workers, so that any of them resumes a session. */
  ticketKeys?: Buffer;
}

/** RFC 9325 §4.2: ECDHE with AEAD for TLS 1.2; TLS 1.3 suites are all fit. */
const ciphers = [
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "TLS_AES_128_GCM_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

/**
 * A session holds the verdict on its client's certificate, so it resumes only where the same CAs judge (RFC 8446
 * §4.6.1): a client that one listener verified is unknown to another.
 */
function sessionContext(clientCa = ""): string {
  return createHash("sha256").update(`postern ${clientCa}`).digest("base64url").slice(0, 32);
}

/** Host names that a certificate covers, lower case. */
function namesOf(certificate: X509Certificate): string[] {
  const names = [...(certificate.subjectAltName ?? "").matchAll(/DNS:([^,\s]+)/g)].map((match) => match[1]!);
  const common = /^CN=(.+)$/m.exec(certificate.subject)?.[1];
  if (names.length === 0 && common) names.push(common);
  return names.map((name) => name.toLowerCase());
}

export class TlsContexts {
  readonly mode: "starttls" | "implicit";
  private readonly fallback: SecureContext;
  private readonly byName = new Map<string, SecureContext>();
  private readonly askClient: boolean;

  constructor(options: ListenerTls) {
    this.mode = options.mode;
    this.askClient = options.clientCa !== undefined;
    const contexts = options.certificates.map((pair) => {
      const context = createSecureContext({
        cert: pair.cert,
        key: pair.key,
        ciphers,
        honorCipherOrder: true,
        minVersion: options.minVersion ?? "TLSv1.2",
        sessionIdContext: sessionContext(options.clientCa),
        ...(options.clientCa === undefined ? {} : { ca: options.clientCa }),
        ...(options.groups === undefined ? {} : { ecdhCurve: options.groups.join(":") }),
        ...(options.ticketKeys === undefined ? {} : { ticketKeys: options.ticketKeys }),
      });
      // A host named by the configuration goes before what other certificates cover.
      if (pair.host !== undefined) this.byName.set(pair.host.toLowerCase(), context);
      for (const name of namesOf(new X509Certificate(pair.cert))) {
        if (!this.byName.has(name)) this.byName.set(name, context);
      }
      return context;
    });
    const first = contexts[0];
    if (!first) throw new RangeError("a TLS listener needs a certificate");
    this.fallback = first;
  }

  /** The context for a server name; wildcards cover one label (RFC 9525 §6.3). */
  contextFor(serverName: string): SecureContext {
    const name = serverName.toLowerCase();
    return this.byName.get(name) ?? this.byName.get(name.replace(/^[^.]+/, "*")) ?? this.fallback;
  }

  /** Wraps a connected socket; the handshake starts with the client's next octets. */
  wrap(socket: Socket): TLSSocket {
    return new TLSSocket(socket, {
      isServer: true,
      secureContext: this.fallback,
      SNICallback: (serverName, done) => done(null, this.contextFor(serverName)),
      requestCert: this.askClient,
      rejectUnauthorized: false,
    });
  }
}

/** "TLSv1.3 TLS_AES_256_GCM_SHA384" as it stands in ClientInfo.tls. */
export function describeTls(socket: TLSSocket): string {
  return `${socket.getProtocol() ?? "TLS"} ${socket.getCipher().standardName}`;
}

/** Names in a certificate are told up to this length: they reach log lines and policies. */
const nameLength = 1_000;

/** Node writes one attribute a line; commas inside of values are escaped. */
function oneLine(name: string): string {
  return printable(name.split("\n").join(", ")).slice(0, nameLength);
}

/** The certificate that the client showed, if any. */
export function clientCertificateOf(socket: TLSSocket): ClientCertificate | undefined {
  const certificate = socket.getPeerX509Certificate();
  if (!certificate) return undefined;
  // `authorized` is set by tls.Server only; on a wrapped socket the verdict has to be asked of the TLS handle.
  const { ssl } = socket as unknown as { ssl?: { verifyError(): Error | null } };
  return {
    subject: oneLine(certificate.subject ?? ""),
    issuer: oneLine(certificate.issuer ?? ""),
    fingerprint: certificate.fingerprint256,
    verified: ssl !== undefined && ssl.verifyError() === null,
  };
}
