/**
 * From a reading of a policy to the sessions worth playing: one dimension for each thing outside that counts, and for
 * each combination of their values a session in the form of `postern explain`.
 * Invariants: only what the reading names varies; all else stays at a plain, well-behaved base.
 */
import type { Budget } from "../../config/budget.ts";
import type { IpRange } from "../../language/ipset.ts";
import { ipWitnesses } from "../../language/prove/ip-witness.ts";
import { answers, dottedSeparator, type TextTest, witnessesOf } from "../../language/prove/witness.ts";
import { domainOf, localPartOf } from "../../message/envelope.ts";
import { type ClientCertificate, certificateInputs } from "../../policy/client-certificate.ts";
import { type PlaySession, readSession } from "../play/session.ts";
import { answerDimensions } from "./answers.ts";
import type { Dimension, Draft, Value } from "./cases.ts";
import { clientDimension, distinct, localDomain, recipientDimension, senderDimension } from "./envelope.ts";
import { messageDimensions, messageText } from "./message.ts";
import type { Reading } from "./reading.ts";

/** What a question fixes. */
export interface Terms {
  budget: Budget;
  /** Only clients from the Internet outside of `trusted`, without AUTH. */
  strangers: boolean;
  trusted: readonly IpRange[];
  /** The last recipient is elsewhere, in a domain that the policy doesn't name. */
  foreign: boolean;
  /** Who wrote gets reports: of failure, delay and success. */
  reports: boolean;
  /** No check gets an answer. */
  allFail: boolean;
  /** The relay rule of the engine counts: AUTH, trusted networks and kinds of recipients vary. */
  rights: boolean;
  /** Only the relay rule counts: all refusals of the script are passed over. */
  heedless: boolean;
  /** The configuration allows AUTH in clear text. */
  clearAuth: boolean;
}

const noCertificate: ClientCertificate = { subject: "", issuer: "", fingerprint: "", verified: false };
const base = readSession({ mailFrom: "sender@client.example", rcptTo: [`user@${localDomain}`] });
/** A number that no script names. */
const otherNumber = "6113";

const baseSession: PlaySession = { ...base, localDomains: [localDomain] };

/** Variables that sessions can't vary: counted over several messages, or made by the engine. */
const fixedInputs = ["mailCount", "totalMailSize"];

export function dimensionsOf(reading: Reading, terms: Terms): Dimension[] {
  const { budget } = terms;
  shareTexts(reading);
  const out: Dimension[] = [];
  const has = (...names: string[]): boolean => names.some((name) => reading.tests.has(name));
  if (terms.clearAuth) {
    const label = "the configuration allows AUTH in clear text";
    out.push({
      name: "configuration",
      values: [{ label, apply: ({ session }) => void (session.plainTextAuth = true) }],
    });
  }
  if (has("remoteSmtpIp")) out.push(clientDimension(reading, terms));
  if (has("isSSLConnection")) out.push(flag("TLS", "the connection is encrypted", (s) => void (s.connect.tls = true)));
  out.push(...certificateDimensions(reading, terms));
  if (has("isESMTP")) out.push(flag("HELO", "the client says HELO", (s) => void (s.helo = true)));
  const text = (
    name: string,
    start: string,
    valid: RegExp,
    words: string,
    apply: (s: PlaySession, t: string) => void,
  ) => {
    if (has(name)) out.push(textDimension(name, start, valid, words, apply, reading, budget));
  };
  text(
    "ehloHost",
    "client.example",
    /^[^\s\x00-\x1f\x7f]{1,255}$/,
    "the client's name is",
    (s, t) => void (s.ehlo = t),
  );
  text("smtpPort", "25", /^\d{1,5}$/, "the local port is", (s, t) => void (s.connect.localPort = Number(t)));
  text(
    "remoteSmtpPort",
    "40000",
    /^\d{1,5}$/,
    "the client's port is",
    (s, t) => void (s.connect.remotePort = Number(t)),
  );
  text("smtpIp", "127.0.0.1", /^[0-9a-f.:]+$/i, "the local address is", (s, t) => void (s.connect.localIp = t));
  if (!terms.strangers && (terms.rights || has("authUser"))) out.push(userDimension(reading, budget));
  if (!terms.strangers && terms.rights) {
    out.push(flag("trusted", "the client is in relay.trustedNetworks", (s) => void (s.trusted = true)));
  }
  if (terms.reports || has("mailFrom", "mailFromDomain", "mailFromUser")) out.push(senderDimension(reading, terms));
  const recipients = has("rcptTo", "rcptToDomain", "rcptToUser", "rcptCount", "isLocalRcpt");
  if (terms.rights || terms.foreign || recipients) out.push(recipientDimension(reading, terms));
  const unlisted = new Set([...(terms.strangers ? clientNames : []), ...(terms.foreign ? recipientNames : [])]);
  out.push(...answerDimensions(reading, budget, { allFail: terms.allFail, unlisted }));
  out.push(...messageDimensions(reading, budget));
  const reported = ["onDeliveryFailure", "onTemporaryDeliveryFailure", "onDeliverySuccess"];
  if (terms.reports || reported.some((event) => reading.events.has(event)))
    out.push(...reportDimensions(reading, terms));
  for (const name of fixedInputs) {
    if ((reading.tests.get(name) ?? []).length > 0)
      reading.gaps.push(`${name} does not vary: sessions have one message`);
  }
  return out.filter(({ values }) => values.length > 0);
}

/** Who is in a list under these names is named by the policy's author: no stranger, no domain elsewhere. */
const clientNames = ["remoteSmtpIp"];
const recipientNames = ["rcptTo", "rcptToDomain"];

/** Builds the session that the values stand for. */
export function sessionOf(dimensions: readonly Dimension[], chosen: readonly number[]): PlaySession {
  const draft: Draft = {
    session: { ...baseSession, connect: { ...baseSession.connect }, facts: {}, lists: {} },
    fields: [],
    attachments: [],
    members: new Map(),
    size: 0,
  };
  for (const [i, dimension] of dimensions.entries()) dimension.values[chosen[i]!]!.apply(draft);
  const { session } = draft;
  for (const [list, members] of draft.members) {
    session.lists[list] = [...members]
      .flatMap(([name, member]) => (member ? [inputOf(session, name)] : []))
      .filter(Boolean);
  }
  const message = messageText(draft.fields, draft.attachments, draft.size);
  if (message !== undefined) session.message = message;
  return session;
}

/** What a session says of an input variable, of the last recipient where there are several; "" when it says nothing. */
export function inputOf(session: PlaySession, name: string): string {
  const { connect, mailFrom = "", rcptTo, localDomains } = session;
  const recipient = rcptTo.at(-1) ?? "";
  const local = localDomains.includes(domainOf(recipient));
  const inputs: Readonly<Record<string, string>> = {
    remoteSmtpIp: connect.remoteIp,
    remoteSmtpPort: String(connect.remotePort),
    smtpIp: connect.localIp,
    smtpPort: String(connect.localPort),
    isSSLConnection: connect.tls ? "yes" : "no",
    ...certificateInputs(connect.certificate ?? noCertificate),
    ehloHost: session.ehlo,
    isESMTP: session.helo ? "no" : "yes",
    authUser: session.auth ?? "",
    mailFrom,
    mailFromDomain: domainOf(mailFrom),
    mailFromUser: localPartOf(mailFrom),
    rcptTo: recipient,
    rcptToDomain: domainOf(recipient),
    rcptToUser: localPartOf(recipient),
    isLocalRcpt: local ? "yes" : "no",
    mailSize: String(session.size ?? 0),
  };
  return inputs[name] ?? "";
}

/**
 * Names in a certificate are for everybody to choose. A stranger's is not verified, and has no fingerprint that the
 * policy knows.
 */
function certificateDimensions(reading: Reading, { budget, strangers }: Terms): Dimension[] {
  const shown = (session: PlaySession, part: Partial<ClientCertificate>): void => {
    session.connect.tls = true;
    session.connect.certificate = { ...noCertificate, ...session.connect.certificate, ...part };
  };
  const text = (variable: string, words: string, field: "subject" | "issuer" | "fingerprint") =>
    textDimension(
      variable,
      "",
      /^[^\x00-\x1f\x7f]*$/,
      words,
      (session, chosen) => chosen !== "" && shown(session, { [field]: chosen }),
      reading,
      budget,
    );
  const out: Dimension[] = [];
  if (reading.tests.has("clientCertSubject")) {
    out.push(text("clientCertSubject", "the certificate's subject is", "subject"));
  }
  if (reading.tests.has("clientCertIssuer")) {
    out.push(text("clientCertIssuer", "the certificate's issuer is", "issuer"));
  }
  if (strangers) return out;
  if (reading.tests.has("clientCertFingerprint")) {
    out.push(text("clientCertFingerprint", "the certificate's fingerprint is", "fingerprint"));
  }
  if (reading.tests.has("clientCertVerified")) {
    out.push(flag("certificate", "the client's certificate is verified", (s) => shown(s, { verified: true })));
  }
  return out;
}

/** Variables compared with each other get texts in common. */
function shareTexts(reading: Reading): void {
  for (const [a, b] of reading.equals) {
    const whole = [a, b].some((name) => ["mailFrom", "rcptTo", "authUser"].includes(name));
    const local = [a, b].some((name) => /User$/.test(name)) && !whole;
    const key = whole ? "same@same.example" : local ? "same" : "same.example";
    const constants = [...(reading.tests.get(a) ?? []), ...(reading.tests.get(b) ?? [])].filter(
      ({ how }) => how === "is",
    );
    for (const name of [a, b]) {
      const known = reading.tests.get(name);
      if (known) reading.tests.set(name, [...known, ...constants, { how: "is", fold: "octet", key }]);
    }
  }
}

function flag(name: string, label: string, set: (session: PlaySession) => void): Dimension {
  return {
    name,
    values: [
      { label: `not: ${label}`, apply: () => undefined },
      { label, apply: ({ session }) => set(session) },
    ],
  };
}

function textDimension(
  name: string,
  start: string,
  valid: RegExp,
  words: string,
  apply: (session: PlaySession, text: string) => void,
  reading: Reading,
  budget: Budget,
): Dimension {
  const tests = reading.tests.get(name) ?? [];
  const address = name === "smtpIp";
  const found = address ? ipWitnesses(tests, start, budget) : witnessesOf(tests, start, budget, dottedSeparator);
  if (!found.exact) reading.gaps.push(found.gap);
  const fits = (text: string): boolean => valid.test(text) && !(name.endsWith("Port") && Number(text) > 65_535);
  const numeric = valid.test(otherNumber) && !valid.test("x");
  const texts = [...found.texts, ...(numeric ? [otherNumber, "1", "22"] : [])].filter(fits);
  noteLost(name, tests, found.texts, texts, numeric, reading, budget);
  const values = distinct(texts, answers(tests, budget)).map(
    (chosen): Value => ({ label: `${words} ${chosen}`, apply: ({ session }) => apply(session, chosen) }),
  );
  return { name, values };
}

/** Texts that can't come may stand for others that can: then a class of texts is not looked at. */
function noteLost(
  name: string,
  tests: readonly TextTest[],
  found: readonly string[],
  kept: readonly string[],
  numeric: boolean,
  reading: Reading,
  budget: Budget,
): void {
  const answer = answers(tests, budget);
  const cells = new Set(kept.map(answer));
  const whole = new Set(tests.flatMap(({ how, key }) => (how === "is" ? [key.toLowerCase()] : [])));
  const parts = tests.some(({ how }) => !["is", "gt", "ge", "lt", "le", "cidr"].includes(how));
  const lost = found.find((text) => text !== "" && !whole.has(text.toLowerCase()) && !cells.has(answer(text)));
  if (lost !== undefined && (parts || !numeric))
    reading.gaps.push(`no ${name} was found that is told apart as "${lost}"`);
}

function userDimension(reading: Reading, budget: Budget): Dimension {
  const tests = reading.tests.get("authUser") ?? [];
  const found = witnessesOf(tests, "user", budget);
  if (!found.exact) reading.gaps.push(found.gap);
  const users = distinct(
    found.texts.filter((text) => text !== ""),
    answers(tests, budget),
  );
  return {
    name: "AUTH",
    values: [
      { label: "there is no AUTH", apply: () => undefined },
      ...users.map(
        (user): Value => ({ label: `the client is user ${user}`, apply: ({ session }) => void (session.auth = user) }),
      ),
    ],
  };
}

function reportDimensions(reading: Reading, terms: Terms): Dimension[] {
  const { budget } = terms;
  const failed = (temporary: boolean): NonNullable<PlaySession["failure"]> => ({
    temporary,
    attempts: 1,
    remaining: 9,
    rescheduleDate: "Mon, 6 Jul 2026 13:10:08 +0000",
  });
  const kinds: Value[] = [
    ...(terms.reports ? [] : [{ label: "nothing is reported", apply: () => undefined }]),
    { label: "delivery fails", apply: ({ session }) => void (session.failure = failed(false)) },
    { label: "delivery is delayed", apply: ({ session }) => void (session.failure = failed(true)) },
    {
      label: "delivery succeeds",
      apply: ({ session }) => void (session.success = [{ address: session.rcptTo.at(-1) ?? "", status: "delivered" }]),
    },
  ];
  const out: Dimension[] = [{ name: "report", values: kinds }];
  const number = (name: string, start: string, field: "attempts" | "remaining") => {
    if (!reading.tests.has(name)) return;
    const apply = ({ failure }: PlaySession, text: string) => void (failure && (failure[field] = Number(text)));
    out.push(textDimension(name, start, /^\d{1,4}$/, `${name} is`, apply, reading, budget));
  };
  number("ndrRetryCount", "1", "attempts");
  number("ndrRemainingRetryCount", "9", "remaining");
  const recipient = (name: string, start: string, field: "address" | "info") => {
    if ((reading.tests.get(name) ?? []).length === 0) return;
    const apply = (session: PlaySession, text: string): void => {
      const { failure } = session;
      if (!failure) return;
      const known = failure.recipients?.[0] ?? { address: session.rcptTo.at(-1) ?? "", info: "550 5.1.1 User unknown" };
      failure.recipients = [{ ...known, [field]: text }];
    };
    out.push(textDimension(name, start, /^[\x20-\x7e]+$/, `${name} is`, apply, reading, budget));
  };
  recipient("ndrRcptAddress", `user@${localDomain}`, "address");
  recipient("ndrRcptFailInfo", "550 5.1.1 User unknown", "info");
  return out;
}
