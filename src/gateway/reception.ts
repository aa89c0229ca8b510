/**
 * One SMTP session's decisions: runs the policy's events, applies the engine's own rules behind them (smtpfilters.md
 * §14 G29: syntax was checked before, relay and recipients are checked after), and puts accepted messages in the spool.
 * Invariants: the program a session began with serves it to its end; the reply to the final dot is positive only after
 * the spool's commit. Failure: a QueueError's outcome is the reply; anything thrown becomes 451 in the SMTP session.
 */
import type { BackEnds } from "../delivery/back-ends.ts";
import type { AccountDirectory } from "../directory/accounts.ts";
import { domainOf, type Envelope, localPartOf, type Recipient } from "../message/envelope.ts";
import { type Outcome, outcome } from "../message/outcome.ts";
import { certificateInputs } from "../policy/client-certificate.ts";
import type { EventName, EventResult, PolicyEffect, PolicySession } from "../policy/types.ts";
import type {
  Answer,
  Credentials,
  MaybePromise,
  MessageSink,
  SessionHandler,
  SessionHandlerFactory,
  SessionSettings,
  SmtpClientInfo,
  StoredSecret,
} from "../smtp/incoming/hooks.ts";
import type { Live } from "./live.ts";
import { type MessageServices, openMessage } from "./message-sink.ts";
import type { PolicyServices } from "./policy-services.ts";
import type { SessionFacts } from "./session-facts.ts";
import { takeSettings } from "./session-settings.ts";
import { relayRefusal, replyOf } from "./verdict.ts";

export interface ReceptionServices extends MessageServices {
  /** What is in force now; read once per session. */
  live(): Live;
  /** Those that are in force now. */
  backEnds(): BackEnds;
  policyServices: PolicyServices;
}

/** Continues at once when nothing has to be waited for, so that most sessions never touch a promise. */
export function then<T, U>(value: T | Promise<T>, next: (value: T) => U | Promise<U>): U | Promise<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}

export function createReception(services: ReceptionServices): SessionHandlerFactory {
  return (client) => new Reception(services, client);
}

/** What policy asked for beside replies; kept for one transaction. */
export interface TransactionMarks {
  effects: PolicyEffect[];
  discarded: Set<string>;
}

class Reception implements SessionHandler {
  readonly settings: SessionSettings;
  readonly #services: ReceptionServices;
  readonly #client: SmtpClientInfo;
  readonly #live: Live;
  readonly #directory: AccountDirectory;
  readonly #facts: SessionFacts;
  readonly #policy: PolicySession;
  #sessionEffects: PolicyEffect[] = [];
  #marks: TransactionMarks = { effects: [], discarded: new Set() };
  /** Client is in a trusted network; asked once. XCLIENT makes a new handler. */
  #trusted: boolean | undefined;
  #mailCount = 0;
  #transactions = 0;
  #totalSize = 0;

  constructor(services: ReceptionServices, client: SmtpClientInfo) {
    this.#services = services;
    this.#client = client;
    this.#live = services.live();
    this.#directory = this.#live.directory;
    const { config, budget } = this.#live;
    this.#facts = services.facts(this.#live, client);
    this.#policy = this.#live.program.session("smtpIn", this.#facts);
    this.#policy.input("maxDataSize", String(budget.messageKiB));
    this.#policy.input("maxRcptCount", String(budget.recipients));
    this.#policy.input("maxReceivedHeaders", String(budget.receivedHeaders));
    // A Sieve reject is an SMTP reply when it comes in time (RFC 5429 §2.1.1), and so is a scanner's.
    if (this.#live.sieve.length > 0 || config.managesieve || config.scanners.length > 0) {
      this.#policy.input("waitProcessingTimeout", String(Math.round(config.policy.processingWait / 1_000)));
    }
    this.settings = {
      greeting: `${config.server.name} ESMTP Postern ready`,
      hostName: config.server.name,
      maxMessageBytes: budget.messageKiB * 1024,
      maxRecipients: budget.recipients,
      maxReceivedHeaders: budget.receivedHeaders,
      allowStartTls: true,
      allow8bitMime: true,
      allowBinary: true,
      allowPipelining: true,
      allowDsn: true,
      allowSmtpUtf8: true,
      allowRequireTls: true,
      authSecure: this.#live.authMechanisms.secure,
      authPlain: this.#live.authMechanisms.plain,
    };
  }

  onConnect(client: SmtpClientInfo): MaybePromise<Answer> {
    this.#services.metrics.add("postern_connections_total");
    const policy = this.#policy;
    policy.input("smtpPort", String(client.localPort));
    policy.input("smtpIp", client.localIp);
    policy.input("remoteSmtpPort", String(client.remotePort));
    policy.input("remoteSmtpIp", client.remoteIp);
    this.#tlsInputs(client);
    return then(this.#run("onConnect"), (result) => {
      const greeting = policy.read("smtpGreeting");
      if (greeting !== "") this.settings.greeting = greeting;
      return result && replyOf("onConnect", result);
    });
  }

  onEhlo(client: SmtpClientInfo): MaybePromise<Answer> {
    const policy = this.#policy;
    policy.input("ehloHost", client.ehlo);
    policy.input("isESMTP", client.esmtp ? "yes" : "no");
    this.#tlsInputs(client);
    return then(this.#run("onEhlo"), (result) => {
      if (result) takeSettings(this.settings, policy, this.#live.authMechanisms);
      return result && replyOf("onEhlo", result);
    });
  }

  #tlsInputs({ tls, clientCertificate }: SmtpClientInfo): void {
    this.#policy.input("isSSLConnection", tls === "" ? "no" : "yes");
    if (clientCertificate === undefined) return;
    for (const [name, value] of Object.entries(certificateInputs(clientCertificate))) this.#policy.input(name, value);
  }

  onAuth(credentials: Credentials): MaybePromise<{ ok: boolean; user: string; outcome?: Outcome }> {
    if (!this.#live.config.domains.frontEnd?.authenticate) return this.#directory.authenticate(credentials);
    return then(this.#live.hasBackEnd(credentials.username), (mapped) =>
      mapped ? this.#services.backEnds().authenticate(credentials) : this.#directory.authenticate(credentials),
    );
  }

  lookupSecret(username: string, scheme: StoredSecret["scheme"]): MaybePromise<StoredSecret | undefined> {
    return this.#directory.lookupSecret(username, scheme);
  }

  onMailFrom(envelope: Envelope): MaybePromise<Answer> {
    this.#marks = { effects: [], discarded: new Set() };
    const policy = this.#policy;
    policy.resetMessage();
    this.#transactions++;
    this.#facts.mailBegan(envelope);
    policy.input("authUser", this.#client.authUser);
    policy.input("mailFrom", envelope.mailFrom);
    policy.input("mailFromDomain", domainOf(envelope.mailFrom));
    policy.input("mailFromUser", localPartOf(envelope.mailFrom));
    policy.input("mailSize", String(envelope.declaredSize));
    policy.input("mailCount", String(this.#mailCount));
    policy.input("totalMailSize", String(this.#totalSize));
    policy.input("rcptCount", "0");
    return then(this.#run("onMailFrom"), (result) => result && replyOf("onMailFrom", result));
  }

  onRcptTo(envelope: Envelope, recipient: Recipient): MaybePromise<Answer> {
    return then(this.#live.hasBackEnd(recipient.address), (mapped) => this.#rcptTo(envelope, recipient, mapped));
  }

  #rcptTo(envelope: Envelope, recipient: Recipient, mapped: boolean): MaybePromise<Answer> {
    const domain = domainOf(recipient.address);
    // RFC 5321 §4.5.1: postmaster without a domain is ours.
    // A bounce to an SRS address of ours is led back to the sender it was made for, so it is ours as well.
    const bounce = envelope.mailFrom === "" && this.#live.reverse(recipient.address) !== undefined;
    const local = domain === "" || bounce || mapped || this.#directory.isLocal(domain);
    const policy = this.#policy;
    policy.input("rcptTo", recipient.address);
    policy.input("rcptToDomain", domain);
    policy.input("rcptToUser", localPartOf(recipient.address));
    policy.input("rcptCount", String(envelope.rcptTo.length));
    policy.input("isLocalRcpt", local ? "yes" : "no");
    return then(this.#run("onRcptTo"), (result) => {
      if (result) takeSettings(this.settings, policy, this.#live.authMechanisms);
      const reply = result && replyOf("onRcptTo", result);
      if (reply && reply.code >= 400) return reply;
      const route = policy.route();
      if (route) recipient.route = route;
      return then(this.#engineVerdict(recipient, { local, bounce, mapped }), (refusal) => {
        if (refusal) return refusal;
        if (result?.action === "discard") this.#marks.discarded.add(recipient.address);
        return this.#services.policyServices.empty ? reply : this.#askServices(envelope, recipient, reply);
      });
    });
  }

  onData(envelope: Envelope): MaybePromise<MessageSink | Outcome> {
    return openMessage(this.#services, {
      envelope,
      client: this.#client,
      live: this.#live,
      policy: this.#policy,
      facts: this.#facts,
      marks: this.#marks,
      sessionEffects: this.#sessionEffects,
      run: (event) => this.#run(event),
      accepted: (size) => {
        this.#mailCount++;
        this.#totalSize += size;
      },
    });
  }

  onReset(): void {
    this.#marks = { effects: [], discarded: new Set() };
    this.#policy.resetMessage();
    this.#facts.mailBegan(undefined);
  }

  onClose(): void {
    this.onReset();
    this.#facts.ended();
  }

  /** Runs an event unless the script has nothing for it; keeps what it asked for. */
  #run(event: EventName): MaybePromise<EventResult | undefined> {
    if (this.#live.program.isEmpty(event)) return undefined;
    return then(this.#policy.run(event), (result) => {
      if (result.effects.length > 0) this.#keepEffects(event, result.effects);
      return result;
    });
  }

  #keepEffects(event: EventName, effects: readonly PolicyEffect[]): void {
    const session = event === "onConnect" || event === "onEhlo";
    for (const effect of effects) {
      if (effect.kind === "log") this.#services.log.info({ session: this.#client.sessionId, event }, effect.text);
      else if (effect.kind === "filter") this.#facts.filterNamed(effect);
      else if (effect.kind === "discardRcpt") this.#marks.discarded.add(effect.address);
      else (session ? this.#sessionEffects : this.#marks.effects).push(effect);
    }
  }

  /** External policy services come last: what policy or engine refuse is no business of theirs. */
  async #askServices(envelope: Envelope, recipient: Recipient, reply: Answer): Promise<Answer> {
    const known = this.#policy.read("ReverseDNSResult") === "pass";
    const advice = await this.#services.policyServices.ask({
      client: this.#client,
      clientName: known ? this.#policy.read("ReverseDNSName") : "",
      envelope,
      recipient: recipient.address,
      transaction: this.#transactions,
    });
    if (advice.refusal) return advice.refusal;
    if (advice.discard) this.#marks.discarded.add(recipient.address);
    this.#marks.effects.push(...advice.effects);
    return reply;
  }

  #engineVerdict(
    recipient: Recipient,
    { local, bounce, mapped }: { local: boolean; bounce: boolean; mapped: boolean },
  ): MaybePromise<Answer> {
    const refusal = relayRefusal({
      local,
      localDelivery: this.#policy.read("localDelivery") || "all",
      remoteDelivery: this.#policy.read("remoteDelivery") || "auth",
      authenticated: this.#client.authUser !== "",
      trusted:
        (this.#trusted ??= this.#live.trusts(this.#client.remoteIp)) ||
        this.#live.relaysFor(domainOf(recipient.address)),
    });
    if (refusal || !local || bounce) return refusal;
    if (mapped) return this.#backEndVerdict(recipient);
    return then(this.#directory.exists(recipient.address), (exists) =>
      exists ? undefined : outcome.reject({ code: 550, enhanced: "5.1.1", text: "User not found", origin: "engine" }),
    );
  }

  /** A route of the policy's own says more than a back end. */
  #backEndVerdict(recipient: Recipient): MaybePromise<Answer> {
    if (recipient.route !== undefined || !this.#live.config.domains.frontEnd?.verify) return undefined;
    return this.#services.backEnds().refusal(recipient.address);
  }
}
