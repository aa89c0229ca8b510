/**
 * Plays a session against a policy without a network: the events in their order, the engine's own rules behind them
 * (smtpfilters.md G29: syntax, event, then relay rule, recipient count and size), and the replies that a client reads.
 * Replies and announcements come from the same functions that live sessions use. Pure but for the policy's facts.
 */
import { budgetDefaults } from "../../config/budget.ts";
import { relayRefusal, replyOf } from "../../gateway/verdict.ts";
import { editHeaders, editOfEffect } from "../../message/edit.ts";
import { domainOf, localPartOf, type RouteOverride } from "../../message/envelope.ts";
import { type Outcome, outcome } from "../../message/outcome.ts";
import { parseMessage } from "../../message/parse.ts";
import { certificateInputs } from "../../policy/client-certificate.ts";
import type { Policy } from "../../policy/compile.ts";
import { findMethod } from "../../policy/names.ts";
import { type ReportKind, renderReport } from "../../policy/report.ts";
import type { EventName, EventResult, PolicyEffect, PolicySession } from "../../policy/types.ts";
import { announcementsOf } from "./announcements.ts";
import { PlayFacts } from "./facts.ts";
import type { Played } from "./played.ts";
import type { PlaySession } from "./session.ts";
import type { RuleTrace } from "./trace.ts";

const emptyMessage = "From: <sender@client.example>\r\nSubject: test\r\n\r\ntest\r\n";

/**
 * Plays the whole session. `trace` counts hits over several sessions for coverage; lists with relative names lie in
 * `folder`. `heedless`: refusals of the script and of limits are noted and passed over, and only the relay rule counts;
 * what a policy never relays so, it never relays (prove).
 */
export async function play(
  policy: Policy,
  session: PlaySession,
  message: Uint8Array | undefined,
  trace: RuleTrace,
  folder: string,
  heedless = false,
): Promise<Played> {
  const player = new Player(policy, session, message ?? Buffer.from(messageText(session)), trace, folder, heedless);
  await player.run();
  return player.result;
}

const messageText = (session: PlaySession): string =>
  session.message === undefined ? emptyMessage : session.message.replace(/\r\n|\n/g, "\r\n");

class Player {
  readonly result: Played;
  private readonly policy: Policy;
  private readonly session: PlaySession;
  private readonly message: Uint8Array;
  private readonly trace: RuleTrace;
  private readonly facts: PlayFacts;
  private readonly incoming: PolicySession;
  private readonly effects: PolicyEffect[] = [];
  private readonly accepted: Array<{ address: string; local: boolean; route?: RouteOverride }> = [];
  private readonly heedless: boolean;

  constructor(
    policy: Policy,
    session: PlaySession,
    message: Uint8Array,
    trace: RuleTrace,
    folder: string,
    heedless: boolean,
  ) {
    this.heedless = heedless;
    this.policy = policy;
    this.session = session;
    this.message = message;
    this.trace = trace;
    this.facts = new PlayFacts(session, folder);
    this.incoming = policy.tracedSession("smtpIn", this.facts, {}, trace);
    this.result = {
      policy: policy.hash,
      events: [],
      replies: [],
      ehlo: [],
      route: null,
      routes: [],
      reports: [],
      headers: "",
      missing: [],
      notes: [],
    };
  }

  async run(): Promise<void> {
    if ((await this.connect()) && (await this.ehlo()) && (await this.mail()) && (await this.recipients())) {
      if (await this.data()) await this.afterwards();
    }
    await this.reports();
    this.result.missing = [...this.facts.missing];
  }

  private async event(name: EventName, session: PolicySession, about?: string): Promise<EventResult> {
    this.trace.begin(name, session);
    const result = await session.run(name);
    const writes = { ...this.trace.writes };
    for (const lookup of this.trace.lookups) {
      for (const output of findMethod(lookup)?.writes ?? []) writes[output] = session.read(output);
    }
    this.result.events.push({
      event: name,
      ...(about === undefined ? {} : { about }),
      path: this.trace.path,
      writes,
      action: result.action,
      explanation: result.explanation,
      effects: result.effects,
      lookups: this.trace.lookups,
    });
    this.effects.push(...result.effects);
    return result;
  }

  /** Answers true when the reply is positive, or doesn't matter. */
  private reply(command: string, answer: Outcome): boolean {
    const { code, enhanced, text, origin } = answer;
    this.result.replies.push({ command, code, enhanced, text, by: origin });
    return code < 400 || this.heedless;
  }

  private async connect(): Promise<boolean> {
    const { connect, hostName } = this.session;
    const policy = this.incoming;
    policy.input("smtpPort", String(connect.localPort));
    policy.input("smtpIp", connect.localIp);
    policy.input("remoteSmtpPort", String(connect.remotePort));
    policy.input("remoteSmtpIp", connect.remoteIp);
    policy.input("isSSLConnection", connect.tls ? "yes" : "no");
    if (connect.certificate) {
      for (const [name, value] of Object.entries(certificateInputs(connect.certificate))) policy.input(name, value);
    }
    const result = await this.event("onConnect", policy);
    const greeting = policy.read("smtpGreeting") || `${hostName} ESMTP Postern ready`;
    return this.reply("connect", replyOf("onConnect", result) ?? engine(220, "2.0.0", greeting));
  }

  private async ehlo(): Promise<boolean> {
    const { ehlo, helo, hostName, auth } = this.session;
    const policy = this.incoming;
    policy.input("ehloHost", ehlo);
    policy.input("isESMTP", helo ? "no" : "yes");
    const result = await this.event("onEhlo", policy);
    const answer = replyOf("onEhlo", result) ?? engine(250, "2.0.0", hostName);
    const positive = this.reply(`${helo ? "HELO" : "EHLO"} ${ehlo}`, answer);
    if (!positive) return false;
    if (!helo) this.result.ehlo = announcementsOf(policy, this.session);
    if (auth !== null) {
      policy.input("authUser", auth);
      this.reply("AUTH", engine(235, "2.7.0", "Authentication successful"));
    }
    return true;
  }

  private limit(name: string): number {
    return Number(this.incoming.read(name));
  }

  private async mail(): Promise<boolean> {
    const { mailFrom, size } = this.session;
    if (mailFrom === undefined) return false;
    const policy = this.incoming;
    policy.input("mailFrom", mailFrom);
    policy.input("mailFromDomain", domainOf(mailFrom));
    policy.input("mailFromUser", localPartOf(mailFrom));
    policy.input("mailSize", String(size ?? 0));
    const result = await this.event("onMailFrom", policy);
    const own = replyOf("onMailFrom", result);
    const tooLarge = size !== undefined && size > this.limit("maxDataSize") * 1024;
    const answer = own && own.code >= 400 ? own : tooLarge ? tooBig(this.limit("maxDataSize")) : own;
    return this.reply(`MAIL FROM:<${mailFrom}>`, answer ?? engine(250, "2.1.0", "Sender accepted"));
  }

  private async recipients(): Promise<boolean> {
    for (const address of this.session.rcptTo) await this.recipient(address);
    return this.accepted.length > 0;
  }

  private async recipient(address: string): Promise<void> {
    const policy = this.incoming;
    const domain = domainOf(address);
    const local = this.session.localDomains.some((known) => known.toLowerCase() === domain);
    policy.input("rcptTo", address);
    policy.input("rcptToDomain", domain);
    policy.input("rcptToUser", localPartOf(address));
    policy.input("rcptCount", String(this.accepted.length));
    policy.input("isLocalRcpt", local ? "yes" : "no");
    const result = await this.event("onRcptTo", policy, address);
    const own = replyOf("onRcptTo", result);
    const refused = own && own.code >= 400;
    const answer = this.heedless ? this.relayRefusal(local) : refused ? own : (this.engineRefusal(local) ?? own);
    if (this.reply(`RCPT TO:<${address}>`, answer ?? engine(250, "2.1.5", "Recipient accepted"))) {
      const route = policy.route();
      if (result.action !== "discard") this.accepted.push({ address, local, ...(route ? { route } : {}) });
    }
  }

  private engineRefusal(local: boolean): Outcome | undefined {
    if (this.accepted.length >= this.limit("maxRcptCount")) return engine(452, "4.5.3", "Too many recipients");
    return this.relayRefusal(local);
  }

  private relayRefusal(local: boolean): Outcome | undefined {
    return relayRefusal({
      local,
      localDelivery: this.incoming.read("localDelivery"),
      remoteDelivery: this.incoming.read("remoteDelivery"),
      authenticated: this.session.auth !== null,
      trusted: this.session.trusted,
    });
  }

  private async data(): Promise<boolean> {
    this.reply("DATA", engine(354, "2.0.0", "Ready to receive data; remember <CRLF>.<CRLF>"));
    const policy = this.incoming;
    const parsed = parseMessage(this.message, budgetDefaults);
    this.facts.arrived(this.message);
    const received = parsed.headers.all("received").length;
    let refusal: Outcome | undefined;
    // A refusal at the header or in the body is remembered until the final dot (§7.2).
    const remember = (event: EventName, result: EventResult): void => {
      const own = replyOf(event, result);
      if (own && own.code >= 400) refusal ??= own;
    };
    remember("onHeadersReceived", await this.event("onHeadersReceived", policy));
    if (received > this.limit("maxReceivedHeaders")) {
      refusal ??= engine(554, "5.4.6", "Too many Received fields: mail is looping");
    }
    if (this.message.length > parsed.bodyStart) remember("onBodyChunk", await this.event("onBodyChunk", policy));
    policy.input("mailSize", String(this.message.length));
    const last = await this.event("onDataReceived", policy);
    if (this.message.length > this.limit("maxDataSize") * 1024) refusal ??= tooBig(this.limit("maxDataSize"));
    remember("onDataReceived", last);
    const own = replyOf("onDataReceived", last) ?? engine(250, "2.0.0", "Mail queued for delivery");
    const positive = this.reply(".", refusal ?? own);
    if (last.action === "discard") this.result.notes.push("the message is discarded");
    return positive && last.action !== "discard";
  }

  /** Processing and relaying, as the queue would do later. */
  private async afterwards(): Promise<void> {
    const processing = this.later("smtpProc");
    const result = await this.event("onProcessing", processing);
    const edits = this.effects.flatMap((effect) => editOfEffect(effect) ?? []);
    this.result.headers = editHeaders(this.message, edits, budgetDefaults).header.toString("utf8");
    if (result.action === "reject") {
      this.result.notes.push(`processing rejects the message: ${result.explanation}`);
      return;
    }
    const destinations = new Map(
      this.accepted.filter((rcpt) => !rcpt.local || rcpt.route).map((rcpt) => [domainOf(rcpt.address), rcpt] as const),
    );
    for (const [domain, recipient] of destinations) await this.relay(domain, recipient);
    this.result.route = this.result.routes[0] ?? null;
  }

  private async relay(domain: string, recipient: { address: string; route?: RouteOverride }): Promise<void> {
    const outgoing = this.policy.tracedSession("smtpOut", this.facts, this.incoming.exports(), this.trace);
    for (const [name, value] of Object.entries(this.session.relay ?? {})) outgoing.input(name, value);
    const { route } = recipient;
    if (route) {
      outgoing.input("remoteSmtpHost", route.host);
      outgoing.input("remoteSmtpPort", String(route.port));
      outgoing.input("sslEnabled", route.implicitTls ? "yes" : "no");
    }
    outgoing.input("rcptTo", recipient.address);
    outgoing.input("rcptToDomain", domain);
    outgoing.input("rcptToUser", localPartOf(recipient.address));
    await this.event("onRelay", outgoing, domain);
    this.result.routes.push({ domain, ...(outgoing.route() ?? { host: "", port: 25 }) });
  }

  private later(context: "smtpProc"): PolicySession {
    const session = this.policy.tracedSession(context, this.facts, this.incoming.exports(), this.trace);
    const mailFrom = this.session.mailFrom ?? "";
    session.input("mailFrom", mailFrom);
    session.input("mailFromDomain", domainOf(mailFrom));
    session.input("mailFromUser", localPartOf(mailFrom));
    session.input("mailSize", String(this.message.length));
    return session;
  }

  private async reports(): Promise<void> {
    const { failure, success } = this.session;
    if (failure) {
      const all = (this.accepted.length > 0 ? this.accepted.map((rcpt) => rcpt.address) : this.session.rcptTo).map(
        (address) => ({ address, info: "550 5.1.1 User unknown" }),
      );
      const recipients = (failure.recipients ?? all).map(({ address, info }) => ({ address, detail: info }));
      const session = this.later("smtpProc");
      session.input("ndrRetryCount", String(failure.attempts));
      session.input("ndrRemainingRetryCount", String(failure.remaining));
      session.input("ndrRescheduleDate", failure.rescheduleDate);
      session.input("ndrRcptAddress", recipients[0]?.address ?? "");
      session.input("ndrRcptFailInfo", recipients[0]?.detail ?? "");
      const kind = failure.temporary ? "temporary" : "permanent";
      await this.event(failure.temporary ? "onTemporaryDeliveryFailure" : "onDeliveryFailure", session);
      this.report(session, kind, recipients);
    }
    if (success) {
      const recipients = success.map(({ address, status }) => ({ address, detail: status }));
      const session = this.later("smtpProc");
      session.input("dsnRcptAddress", recipients[0]?.address ?? "");
      session.input("dsnRcptStatus", recipients[0]?.detail ?? "");
      await this.event("onDeliverySuccess", session);
      this.report(session, "success", recipients);
    }
  }

  private report(
    session: PolicySession,
    kind: ReportKind,
    recipients: Array<{ address: string; detail: string }>,
  ): void {
    // RFC 5321 §6.1: never an answer to the null reverse-path.
    if (this.session.mailFrom === "") {
      this.result.notes.push("no report: the sender is the null reverse-path");
      return;
    }
    const rendered = renderReport(session, kind, recipients, `MAILER-DAEMON@${this.session.hostName}`);
    if (rendered) this.result.reports.push({ kind, ...rendered });
  }
}

const engine = (code: number, enhanced: string, text: string): Outcome =>
  outcome.of({ code, enhanced, text, origin: "engine" });

const tooBig = (limitKiB: number): Outcome =>
  engine(552, "5.3.4", `Message size exceeds the limit of ${limitKiB * 1024} octets`);
