/**
 * What SMTP reception asks of the rest of the house: one `SessionHandler` per connection, made by the gateway.
 * The session keeps protocol state and limits; the handler decides and stores. Every answer is an Outcome or
 * undefined ("no opinion": the session gives its default reply). Handlers may answer synchronously, so that a session
 * without look-ups never waits for a promise. Failure: a thrown error becomes 451 4.3.0 and is logged.
 */
import type { Credentials, StoredSecret } from "../../directory/types.ts";
import type { ClientInfo, Envelope, Recipient } from "../../message/envelope.ts";
import type { Outcome } from "../../message/outcome.ts";
import type { ClientCertificate } from "../../policy/client-certificate.ts";

export type { Credentials, StoredSecret } from "../../directory/types.ts";

export type Answer = Outcome | undefined;
export type MaybePromise<T> = T | Promise<T>;

/** Session settings that the handler (policy) may change at any event; read by the session before each reply. */
export interface SessionSettings {
  /** Text after "220 " in the greeting. */
  greeting: string;
  hostName: string;
  /** Octets; announced as SIZE. */
  maxMessageBytes: number;
  maxRecipients: number;
  maxReceivedHeaders: number;
  allowStartTls: boolean;
  allow8bitMime: boolean;
  allowBinary: boolean;
  allowPipelining: boolean;
  allowDsn: boolean;
  allowSmtpUtf8: boolean;
  /** AUTH mechanisms offered on encrypted / plain connections, upper case. */
  authSecure: readonly string[];
  authPlain: readonly string[];
  /** Offers REQUIRETLS (RFC 8689) on encrypted connections. Default false. */
  allowRequireTls?: boolean;
  /** Text of HELP; "\n" separates lines. */
  helpText?: string;
}

/** What reception knows beyond ClientInfo; the object given to every hook has these fields when they apply. */
export interface SmtpClientInfo extends ClientInfo {
  /** Certificate that the client showed under TLS. */
  clientCertificate?: ClientCertificate;
  /** Server name asked for in the TLS handshake (SNI). */
  serverName?: string;
  /** Attributes of XFORWARD from a trusted host, upper-case names; for logs only. */
  forwarded?: Readonly<Record<string, string>>;
}

/** Receives the message bytes (dot-unstuffed, CRLF lines) as they arrive. */
export interface MessageSink {
  /** Returns a promise for back-pressure, undefined when more can come at once. Chunks must not be kept unless copied. */
  write(chunk: Uint8Array): Promise<void> | undefined;
  /** All bytes came; resolves with the reply to the final dot, which is positive only when the message is durable. */
  end(): MaybePromise<Outcome>;
  /**
   * LMTP only, instead of `end`: one reply per accepted recipient, in order (RFC 2033 §4.2). When absent, `end` is
   * called and its reply stands for all.
   */
  endEach?(): MaybePromise<Outcome[]>;
  /** The client went away or the message was refused; nothing of it may stay. */
  abort(): void;
}

export interface SessionHandler {
  readonly settings: SessionSettings;
  onConnect(client: ClientInfo): MaybePromise<Answer>;
  onEhlo(client: ClientInfo): MaybePromise<Answer>;
  onAuth(credentials: Credentials): MaybePromise<{ ok: boolean; user: string; outcome?: Outcome }>;
  /** Stored keys of an account for challenge mechanisms (SCRAM). Without this method they are not offered. */
  lookupSecret?(username: string, scheme: StoredSecret["scheme"]): MaybePromise<StoredSecret | undefined>;
  onMailFrom(envelope: Envelope): MaybePromise<Answer>;
  onRcptTo(envelope: Envelope, recipient: Recipient): MaybePromise<Answer>;
  /** DATA/BDAT begins: opens the sink, or refuses. Reception prepends nothing; the sink's owner adds Received. */
  onData(envelope: Envelope): MaybePromise<MessageSink | Outcome>;
  /** Transaction ended without a message (RSET, new EHLO, refused). */
  onReset(): void;
  onClose(reason: string): void;
}

/** `client` is one live object per session: reception updates it in place (ehlo, tls, authUser, protocol). */
export type SessionHandlerFactory = (client: SmtpClientInfo) => SessionHandler;
