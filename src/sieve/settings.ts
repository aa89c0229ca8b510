/**
 * What an administrator can set about Sieve. Names follow the RFCs' terms; the test runner maps Pigeonhole's keys.
 * Invariants: plain data; periods are seconds, sizes octets. Failure: none; the loader of the configuration checks values.
 */

/** Where spamtest and virustest read their score when no scanner of ours gave one (RFC 5235). */
export interface ScoreSource {
  /** Field name, and the regular expression whose first group is the score. */
  header: string;
  pattern?: string;
  type: "score" | "strlen" | "text";
  maxHeader?: { header: string; pattern?: string };
  maxValue?: number;
  /** type "text": the field's value for each score, by score. */
  texts?: Readonly<Record<string, string>>;
}

export interface HeaderRule {
  name: string;
  forbidAdd: boolean;
  forbidDelete: boolean;
}

export interface SieveSettings {
  disabledExtensions: readonly string[];
  // limits of one script
  scriptBytes: number;
  maxActions: number;
  maxRedirects: number;
  maxNotifications: number;
  maxVariables: number;
  variableBytes: number;
  includeDepth: number;
  includes: number;
  /** Milliseconds of work, turned into a number of steps so that it is the same on each machine. */
  cpuMs: number;
  // surroundings
  postmaster: string;
  hostname: string;
  domain: string;
  userEmail: string;
  /** Sender of redirected messages: "sender", "recipient", "orig_recipient", "user_email", "postmaster" or "<address>". */
  redirectEnvelopeFrom: string;
  mailtoEnvelopeFrom: string;
  recipientDelimiter: string;
  /** Scripts may redirect to addresses with letters beyond ASCII (RFC 6531). */
  utf8Addresses: boolean;
  /** Own values for the environment test and namespace. */
  environment: Readonly<Record<string, string>>;
  location: string;
  phase: string;
  implementation: string;
  version: string;
  // extensions
  spamtest: ScoreSource | undefined;
  virustest: ScoreSource | undefined;
  editHeaderBytes: number;
  headerRules: readonly HeaderRule[];
  duplicateDefault: number;
  duplicateMax: number;
  vacation: {
    minPeriod: number;
    defaultPeriod: number;
    maxPeriod: number;
    defaultSubject: string | undefined;
    subjectTemplate: string;
    useOriginalRecipient: boolean;
    checkRecipient: boolean;
    sendFromRecipient: boolean;
    ignoreEnvelopeInTo: boolean;
  };
  reportFrom: string;
}

const day = 86_400;

export const defaultSettings: SieveSettings = {
  disabledExtensions: [],
  scriptBytes: 1024 * 1024,
  maxActions: 32,
  maxRedirects: 4,
  maxNotifications: 10,
  maxVariables: 255,
  variableBytes: 4_096,
  includeDepth: 10,
  includes: 255,
  cpuMs: 30_000,
  postmaster: "postmaster@localhost",
  hostname: "localhost",
  domain: "localdomain",
  userEmail: "",
  redirectEnvelopeFrom: "sender",
  mailtoEnvelopeFrom: "",
  recipientDelimiter: "+",
  utf8Addresses: true,
  environment: {},
  location: "MTA",
  phase: "post",
  implementation: "Postern Sieve",
  version: "1",
  spamtest: undefined,
  virustest: undefined,
  editHeaderBytes: 2_048,
  headerRules: [],
  duplicateDefault: day / 2,
  duplicateMax: 2 * day,
  vacation: {
    minPeriod: day,
    defaultPeriod: 7 * day,
    maxPeriod: 60 * day,
    defaultSubject: undefined,
    subjectTemplate: "Auto: %{subject}",
    useOriginalRecipient: false,
    checkRecipient: true,
    sendFromRecipient: false,
    ignoreEnvelopeInTo: false,
  },
  reportFrom: "postmaster",
};
