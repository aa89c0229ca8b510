/**
 * How the rest of the house uses a compiled smtpFilters policy. A `PolicyProgram` is immutable and content-hashed;
 * sessions keep the program they began with (smtpfilters.md §11.4). A `PolicySession` lives as long as an SMTP session
 * (context SMTPIn), and fresh ones are made from stored exports for SMTPOut and SMTPProc.
 * Invariants: evaluation is a pure function of (program, inputs, facts); `run` answers synchronously when the event
 * needs no look-up. Failure: a look-up that fails yields its declared failure value; it never throws into the session.
 */
import type { Diagnostic } from "../language/diagnostic.ts";
import type { RouteOverride } from "../message/envelope.ts";

export type PolicyContext = "smtpIn" | "smtpOut" | "smtpProc";

export type EventName =
  | "onConnect"
  | "onEhlo"
  | "onMailFrom"
  | "onRcptTo"
  | "onHeadersReceived"
  | "onBodyChunk"
  | "onDataReceived"
  | "onRelay"
  | "onDeliveryFailure"
  | "onTemporaryDeliveryFailure"
  | "onProcessing"
  | "onDeliverySuccess";

/** One thing an event asked the engine to do besides setting variables. */
export type PolicyEffect =
  | {
      kind: "addHeader" | "addIfNotExistsHeader" | "modifyHeader" | "modifyIfExistsHeader";
      name: string;
      value: string;
    }
  | { kind: "removeFirstHeader" | "removeHeader"; name: string }
  | { kind: "addRcpt" | "discardRcpt" | "addBcc"; address: string }
  | { kind: "quarantine" | "hold" | "tag" | "log"; text: string }
  | { kind: "delay"; seconds: number }
  | { kind: "signDkim"; domain: string; selector: string; keyPath: string }
  | { kind: "filter"; name: string; address: string; timeoutMs: number };

export interface EventResult {
  /** smtpAction of this command; "" when the script set none. */
  action: "" | "accept" | "reject" | "tmpreject" | "discard";
  explanation: string;
  /** Rule (method) and line that set the action last; "" when none. */
  origin: string;
  effects: PolicyEffect[];
}

/** Asynchronous facts a policy can call for (checkSPF...); implemented over checks/ by the gateway, by tables in tests. */
export interface FactSource {
  /**
   * Runs predefined method `name` (a "lookup" row of vocabulary) with the session's current variables and answers output variables
   * (e.g. {SPFResult: "fail", SPFExplanation: "..."}); what it leaves out becomes "". Rejection or the deadline leads
   * to the method's failure values. `effects`: what this event asked for so far (executeFilters finds its filters there).
   * checkGeoIP answers {GeoIPResult: "DE"}; the verdict over the country lists is made here.
   */
  call(
    name: string,
    read: (variable: string) => string,
    effects: readonly PolicyEffect[],
  ): Promise<Record<string, string>> | Record<string, string>;
  /** Where an answer of `call` came from, a line a source; [] when that is not known. For records. */
  origin?(answer: Record<string, string>): readonly string[];
  /**
   * List membership for `inList`; synchronous because lists are held in memory. `list` is one of PolicyProgram.lists. A
   * ListUnavailable thrown here, or no such function, ends the event in tmpreject.
   */
  inList?(list: string, value: string): boolean;
  /** Header field values of the message at hand, unfolded and decoded, top first. */
  header?(name: string): readonly string[];
  /** Strings of a message as a whole, for the variables of that name; asked from onDataReceived on. */
  strings?(variable: "attachmentNames" | "attachmentTypes" | "mimeTypes"): readonly string[];
  /** A value that a script gave was ignored (smtpfilters.md §4): out of range, or no such choice. */
  ignored?(variable: string, value: string): void;
  /** Counts one hit against a rate ("100/1h") and answers whether the key is over it. */
  rate?(key: string, limit: string): boolean | Promise<boolean>;
}

export interface PolicySession {
  /** Sets an engine input variable (remoteSmtpIp, mailFrom...). Unknown names throw: a programming error. */
  input(variable: string, value: string): void;
  /** Reads any variable; "" when unknown. */
  read(variable: string): string;
  run(event: EventName): EventResult | Promise<EventResult>;
  /** Message-level exports are dropped (RSET, new MAIL). */
  resetMessage(): void;
  /**
   * Where the script sends this recipient (onRcptTo) or this destination (onRelay); undefined when it set nothing that
   * concerns the route. `host` is "" for MX delivery.
   */
  route(): RouteOverride | undefined;
  /** All exported variables, to be stored with the message. */
  exports(): Record<string, string>;
}

export interface PolicyProgram {
  /** Content hash of the source(s) and compiler version. */
  readonly hash: string;
  readonly file: string;
  readonly warnings: readonly Diagnostic[];
  /** Names of the lists that its rules look into ("file:…"); relative ones lie beside the script. */
  readonly lists: readonly string[];
  /** True when the event has no statements: callers skip it entirely. */
  isEmpty(event: EventName): boolean;
  session(context: PolicyContext, facts: FactSource, exports?: Record<string, string>): PolicySession;
}

export type CompileResult =
  | { ok: true; program: PolicyProgram; diagnostics: Diagnostic[] }
  | { ok: false; diagnostics: Diagnostic[] };
