/**
 * The delivery of queued messages: recipients split into local ones and next hops, each group carried out on its own.
 * Invariants: one DeliveryResult for each recipient asked for, in no particular order; recipients with the same next
 * hop share a transaction; a failure of one group does not touch the others.
 * Failure: `deliver` does not reject for what the network, DNS or the store did; a fault of our own defers (4.3.0).
 */
import type { Budget } from "../config/budget.ts";
import type { Resolver } from "../dns/types.ts";
import { domainOf } from "../message/envelope.ts";
import { type Outcome, printable } from "../message/outcome.ts";
import type { BodySource, Deliverer, DeliveryResult, QueuedMessage, QueuedRecipient } from "../queue/types.ts";
import type { Timeouts } from "../smtp/outgoing/client.ts";
import { ConnectionPool, type PoolLimits } from "../smtp/outgoing/pool.ts";
import type { Store } from "../store/types.ts";
import type { Logger } from "../telemetry/log.ts";
import type { AddressMap } from "./address-map.ts";
import { BackEnds } from "./back-ends.ts";
import { LocalDelivery } from "./local.ts";
import type { MxSettings } from "./mx.ts";
import { hopKey } from "./next-hop.ts";
import { engineTrouble, Relay, type RelayCounters } from "./relay.ts";
import { type RelayPolicy, Router } from "./route.ts";
import type { SmartHost } from "./smart-host.ts";
import type { Srs } from "./srs.ts";
import { TlsPolicies, type TlsSettings } from "./tls/policies.ts";
import type { NextHop, Seal, TlsPolicy } from "./types.ts";
import type { UserMap } from "./user-map.ts";

export interface DelivererOptions {
  /** Our name in EHLO; an MX of this name is us. */
  hostName: string;
  resolver: Resolver;
  store: Store;
  budget: Budget;
  log?: Logger;
  /** Recipient domains (lower case) delivered to the store. */
  isLocal(domain: string): boolean;
  /** Front-end node: a user map has the address, so it is not local; default none. */
  hasBackEnd?(address: string): boolean | Promise<boolean>;
  /** Policy's onRelay. */
  relayPolicy?: RelayPolicy;
  routes?: Readonly<Record<string, string>>;
  userMaps?: readonly UserMap[];
  smartHosts?: readonly SmartHost[];
  /** TLS for hops that say nothing of it; default opportunistic. */
  tls?: TlsPolicy;
  tlsByDomain?: Readonly<Record<string, TlsPolicy>>;
  tlsSettings?: TlsSettings;
  /** Source address by recipient domain; "" = the system's choice. */
  localAddress?(domain: string): string;
  /** Default "prefer4". */
  family?: MxSettings["family"];
  ownAddresses?: readonly string[];
  /** Whether an MX may lead to loopback or private addresses; default false. */
  allowSpecialAddresses?: boolean;
  pool?: Partial<PoolLimits>;
  timeouts?: Partial<Timeouts>;
  /** Rewrites the reverse-path of forwarded mail. */
  srs?: Srs;
  /** Rewrites reverse-paths and recipients of mail that leaves the house, after routing and before SRS. */
  rewriteSender?: AddressMap;
  rewriteRecipient?: AddressMap;
  /** Default "+". */
  subaddressDelimiter?: string;
  /** Default false: mail for user+detail goes to the INBOX. */
  subaddressFolders?: boolean;
  /** What mail for a full mailbox meets; default "defer". */
  overQuota?: "defer" | "reject";
  /** Signs what is relayed, on the octets as sent. */
  seal?: Seal;
}

export interface PostalDeliverer extends Deliverer {
  /** The name of the queue a recipient waits in: its next hop, the same for all domains of one MX set. */
  destinationOf(message: QueuedMessage, recipient: QueuedRecipient): string | Promise<string>;
  readonly counters: RelayCounters;
  /** The back ends that user maps name, asked while a client waits. */
  readonly backEnds: BackEnds;
  /** Closes idle connections; those in use finish. */
  close(): void;
}

export function createDeliverer(options: DelivererOptions): PostalDeliverer {
  return new Delivery(options);
}

class Delivery implements PostalDeliverer {
  readonly backEnds: BackEnds;
  readonly #options: DelivererOptions;
  readonly #router: Router;
  readonly #relay: Relay;
  readonly #local: LocalDelivery;
  readonly #pool: ConnectionPool;

  constructor(options: DelivererOptions) {
    this.#options = options;
    this.#router = new Router({
      isLocal: options.isLocal,
      hasBackEnd: options.hasBackEnd ?? (() => false),
      relayPolicy: options.relayPolicy,
      routes: options.routes ?? {},
      userMaps: options.userMaps ?? [],
      smartHosts: options.smartHosts ?? [],
      tls: options.tls ?? "opportunistic",
      tlsByDomain: options.tlsByDomain ?? {},
      localAddress: options.localAddress ?? (() => ""),
    });
    this.#pool = new ConnectionPool(options.pool);
    this.#relay = new Relay({
      pool: this.#pool,
      mx: {
        resolver: options.resolver,
        budget: options.budget,
        family: options.family ?? "prefer4",
        ownNames: new Set([options.hostName.toLowerCase()]),
        ownAddresses: new Set(options.ownAddresses ?? []),
        allowSpecialAddresses: options.allowSpecialAddresses ?? false,
      },
      tls: new TlsPolicies(options.tlsSettings ?? {}, options.resolver, options.budget),
      ehloName: options.hostName,
      timeouts: options.timeouts ?? {},
      budget: options.budget,
      log: options.log,
      ...(options.seal ? { seal: options.seal } : {}),
    });
    this.backEnds = new BackEnds({
      hopOf: (address) => this.#router.backEndOf(address),
      open: (hop, timeouts) => this.#relay.open(hop, timeouts),
      budget: options.budget,
    });
    this.#local = new LocalDelivery({
      store: options.store,
      delimiter: options.subaddressDelimiter ?? "+",
      subaddressFolders: options.subaddressFolders ?? false,
      overQuota: options.overQuota ?? "defer",
    });
  }

  get counters(): RelayCounters {
    return this.#relay.counters;
  }

  async deliver(message: QueuedMessage, recipients: QueuedRecipient[], body: BodySource): Promise<DeliveryResult[]> {
    const [local, remote]: [QueuedRecipient[], QueuedRecipient[]] = [[], []];
    const work: Array<Promise<DeliveryResult[]>> = [];
    for (const recipient of recipients) {
      try {
        const here = this.#router.isLocal(recipient);
        ((typeof here === "boolean" ? here : await here) ? local : remote).push(recipient);
      } catch (error) {
        work.push(this.#guard([recipient], () => Promise.reject(error))); // a directory that can't be asked
      }
    }
    if (local.length > 0) {
      work.push(this.#guard(local, async () => this.#stored(await this.#local.deliver(message, local, body))));
    }
    if (remote.length > 0) work.push(this.#guard(remote, () => this.#toHops(message, remote, body)));
    return (await Promise.all(work)).flat();
  }

  destinationOf(message: QueuedMessage, recipient: QueuedRecipient): string | Promise<string> {
    const local = this.#router.isLocal(recipient);
    if (local instanceof Promise) return local.then((here) => (here ? "store" : this.#siteFor(message, recipient)));
    return local ? "store" : this.#siteFor(message, recipient);
  }

  #siteFor(message: QueuedMessage, recipient: QueuedRecipient): string | Promise<string> {
    const hop = this.#router.routeNow(recipient);
    if (hop instanceof Promise) return hop.then((found) => this.#siteOf(found));
    if (hop) return this.#siteOf(hop);
    return this.#router.routeAll(message, [recipient]).then(([asked]) => this.#siteOf(asked!));
  }

  close(): void {
    this.#pool.close();
  }

  #siteOf(hop: NextHop): string | Promise<string> {
    return hop.kind === "error" ? "error" : this.#relay.siteOf(hop);
  }

  #stored(results: ReadonlyArray<{ recipient: QueuedRecipient; outcome: Outcome }>): DeliveryResult[] {
    return results.map((result) => ({ ...result, destination: "store", kind: kindOf(result.outcome, "delivered") }));
  }

  async #toHops(message: QueuedMessage, recipients: QueuedRecipient[], body: BodySource): Promise<DeliveryResult[]> {
    const hops = await this.#router.routeAll(message, recipients);
    const groups = new Map<string, { hop: NextHop; recipients: QueuedRecipient[] }>();
    const results: DeliveryResult[] = [];
    for (const [index, hop] of hops.entries()) {
      const recipient = recipients[index]!;
      if (hop.kind === "error") {
        const said = hop.outcome!;
        results.push({
          recipient,
          outcome: said,
          destination: "policy",
          kind: kindOf(said, "relayed"),
          dsnPassedOn: false,
        });
        continue;
      }
      const key = hop.signatures ? `${hopKey(hop)} ${JSON.stringify(hop.signatures)}` : hopKey(hop);
      const group = groups.get(key);
      if (group) group.recipients.push(recipient);
      else groups.set(key, { hop, recipients: [recipient] });
    }
    const relayed = await Promise.all(
      [...groups.values()].map((group) =>
        this.#guard(group.recipients, () => this.#toHop(group.hop, message, group.recipients, body)),
      ),
    );
    return results.concat(...relayed);
  }

  async #toHop(
    hop: NextHop,
    message: QueuedMessage,
    recipients: QueuedRecipient[],
    body: BodySource,
  ): Promise<DeliveryResult[]> {
    const mail = { ...message.envelope, mailFrom: this.#reversePath(hop, message) };
    const map = this.#options.rewriteRecipient;
    const origins = new Map<QueuedRecipient, QueuedRecipient>();
    for (const recipient of recipients) {
      origins.set(map ? { ...recipient, address: map.rewrite(recipient.address) } : recipient, recipient);
    }
    const results = await this.#relay.deliver(hop, message, mail, [...origins.keys()], body);
    return results.map((result) => ({
      ...result,
      recipient: origins.get(result.recipient)!,
      kind: kindOf(result.outcome, "relayed"),
    }));
  }

  /** SRS after onRelay (smtpfilters.md §8.1): only for mail of strangers that is passed on to strangers. */
  #reversePath(hop: NextHop, message: QueuedMessage): string {
    const { srs, isLocal } = this.#options;
    const mailFrom = this.#options.rewriteSender?.rewrite(message.envelope.mailFrom) ?? message.envelope.mailFrom;
    const ours = mailFrom === "" || isLocal(domainOf(mailFrom)) || message.client.authUser !== "";
    if (!srs || ours || hop.origin === "domains.routes" || hop.origin.startsWith("user map")) return mailFrom;
    return srs.forward(mailFrom);
  }

  /** A fault of our own must not lose the results of the other groups. */
  async #guard(recipients: QueuedRecipient[], work: () => Promise<DeliveryResult[]>): Promise<DeliveryResult[]> {
    try {
      return await work();
    } catch (error) {
      const text = printable(error instanceof Error ? error.message : String(error));
      this.#options.log?.error({ error }, "delivery failed");
      const said = engineTrouble(`delivery failed: ${text}`);
      return recipients.map((recipient) => ({
        recipient,
        outcome: said,
        destination: "engine",
        kind: "deferred",
        dsnPassedOn: false,
      }));
    }
  }
}

function kindOf(said: Outcome, success: "delivered" | "relayed"): DeliveryResult["kind"] {
  return said.code < 400 ? success : said.temporary ? "deferred" : "failed";
}
