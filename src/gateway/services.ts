/**
 * One worker's services, composed: state, store, resolver, the queue shards, processing, delivery, reception.
 * Invariants: everything that depends on the configuration is asked through `live()`, so that a reload is one swap;
 * services stop in the reverse order of their start. Failure: `startServices` rejects with an error that names what
 * could not be opened, after closing what was.
 */

import { getServers } from "node:dns";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { GeoIp } from "../checks/geoip/geoip.ts";
import type { Config } from "../config/schema.ts";
import { createDeliverer, type PostalDeliverer } from "../delivery/deliverer.ts";
import { expandRecipients } from "../delivery/expand.ts";
import { deliverToQuarantine, quarantineReason } from "../delivery/quarantine.ts";
import { createResolver } from "../dns/resolver.ts";
import { policyFilter } from "../processing/policy-filter.ts";
import { createProcessor } from "../processing/processor.ts";
import { controlPath, serveOperations } from "../queue/control.ts";
import { createOperations } from "../queue/operations.ts";
import { createScheduler, type Scheduler } from "../queue/scheduler.ts";
import { type DiskSpool, openSpool } from "../queue/spool.ts";
import { Suspensions } from "../queue/suspensions.ts";
import { ScriptDatabase } from "../sieve/managesieve/database.ts";
import type { FlowControl } from "../smtp/incoming/flow.ts";
import { ProcessLoadGauge } from "../smtp/incoming/load.ts";
import { openEmbeddedState } from "../state/embedded.ts";
import { openStore } from "../store/store.ts";
import type { ManagedStore } from "../store/types.ts";
import { type Logger, moduleLogger } from "../telemetry/log.ts";
import { Metrics } from "../telemetry/metrics.ts";
import { deliveryOptions, destinationLimits } from "./delivery-options.ts";
import { createFacts } from "./facts.ts";
import { recordSieve } from "./later-record.ts";
import { openListeners } from "./listeners.ts";
import { type Live, makeLive } from "./live.ts";
import { openManageSieve } from "./managesieve.ts";
import { createMessageEvents } from "./message-events.ts";
import { Observers } from "./observers.ts";
import { PolicyLists } from "./policy-lists.ts";
import { PolicyServices } from "./policy-services.ts";
import { Reports } from "./reports.ts";
import { openScanners } from "./scanners.ts";
import type { TrialCounts } from "./shadow.ts";
import { createSieveChain, type SieveChainOptions } from "./sieve-scripts.ts";
import { createSeal } from "./signing.ts";
import { type Compiled, openSnapshot, type Snapshot } from "./snapshot.ts";
import { Verdicts } from "./verdicts.ts";
import { createWatchedReception } from "./watch.ts";

export interface Services {
  /** Addresses listened on, in the order of the configuration. */
  addresses: readonly string[];
  metrics: Metrics;
  /** What the candidate policy on trial did since the last call; undefined when there is none or nothing happened. */
  trial(): { hash: string; counts: TrialCounts } | undefined;
  stopTrial(): void;
  /** Rejects, and changes nothing, when the snapshot can't be put in force. */
  reload(snapshot: Snapshot): Promise<void>;
  stop(drainMs: number): Promise<void>;
}

export interface WorkerPlan {
  compiled: Compiled;
  index: number;
  shards: readonly number[];
  /** Base64; the same for all workers, so that TLS sessions resume at any of them. */
  tlsTicketKeys: string;
  /** Counts connections and bans over all workers. */
  flow: FlowControl;
  log: Logger;
}

const gaugeMs = 1_000;
const mib = 1024 * 1024;
/** A shard may still be held by a dying predecessor for a moment. */
const shardWaitMs = 15_000;

export async function startServices(plan: WorkerPlan): Promise<Services> {
  let live = makeLive(plan.compiled);
  const { config, budget } = live;
  const { log } = plan;
  const metrics = new Metrics();
  const closers: Array<() => Promise<void> | void> = [];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.reverse()) await close();
  };

  try {
    const state = await openEmbeddedState({ path: join(config.data, "state", "state.db"), budget, log });
    closers.push(() => state.close());
    const { defaultQuota, quarantine } = config.store;
    const store = await openStore({
      dir: join(config.data, "store"),
      budget,
      log: moduleLogger(log, "STORE"),
      quarantineMs: quarantine,
      ...(defaultQuota > 0 ? { defaultQuota } : {}),
    });
    closers.push(() => store.close());
    await setQuotas(store, config);
    const resolver = createResolver({
      servers: config.dns.servers.length > 0 ? config.dns.servers : getServers(),
      budget,
      timeoutMs: config.dns.timeout,
    });
    closers.push(() => resolver.close());

    const geoip = await GeoIp.open({
      path: config.geoip.database,
      asnPath: config.geoip.asn,
      onError: (error) => log.warn({ err: error }, "country database"),
    });
    closers.push(() => geoip.close());
    const lists = new PolicyLists(budget, log);
    closers.push(() => lists.close());
    await lists.open(live.program);
    if (live.candidate) await lists.open(live.candidate);
    const observers = new Observers(plan.index, moduleLogger(log, "GATEWAY"));
    observers.take(live, plan.compiled.texts);
    closers.push(() => observers.close());
    const scanners = openScanners(live);
    closers.push(() => scanners.close());
    const facts = createFacts({ live: () => live, resolver, state, geoip, lists, scanner: scanners.find, log });
    const events = createMessageEvents({
      live: () => live,
      facts: facts.ofMessage,
      recording: () => observers.recording,
    });
    const policyServices = new PolicyServices(config.policyServices, budget, moduleLogger(log, "SMTP-IN"));
    closers.push(() => policyServices.close());
    const scripts = config.managesieve && new ScriptDatabase(join(config.data, "sieve", "scripts.db"));
    if (scripts) closers.push(() => scripts.close());
    const openLists: SieveChainOptions["openLists"] = (files) => lists.openNamed(files);
    const sieveLog = moduleLogger(log, "PROCESSING");
    const sieve = await createSieveChain(live, {
      ...{ scripts, state, store, openLists, log: sieveLog },
      ran: (run) => observers.recording && recordSieve(observers.recording, run),
    });
    const reports = await Reports.open(config, budget, moduleLogger(log, "GATEWAY"));
    closers.push(() => reports.close());
    const seal = createSeal({ live: () => live, context: facts.checkContext, log: moduleLogger(log, "SMTP-OUT") });
    const makeDeliverer = (): PostalDeliverer =>
      createDeliverer({
        ...deliveryOptions(live, { state, tlsReports: reports.tls }),
        resolver,
        store,
        budget,
        log: moduleLogger(log, "SMTP-OUT"),
        relayPolicy: events.relay,
        seal,
      });
    let deliverer = makeDeliverer();
    closers.push(() => deliverer.close());

    let limitsOf = destinationLimits(config);
    const spools: DiskSpool[] = [];
    const schedulers: Scheduler[] = [];
    const verdicts = new Verdicts();
    closers.push(async () => {
      await Promise.all(schedulers.map((scheduler) => scheduler.stop(drainMs)));
      await Promise.all(spools.map((spool) => spool.close()));
    });
    let drainMs = 0;
    for (const shard of plan.shards) {
      const suspensions = await Suspensions.open(join(config.data, "queue"));
      const spool = await openShard(join(config.data, "queue"), shard, live, log);
      spools.push(spool);
      schedulers.push(
        createScheduler({
          spool,
          deliverer: {
            deliver: (message, recipients, body) =>
              quarantineReason(message) === undefined
                ? deliverer.deliver(message, recipients, body)
                : deliverToQuarantine(store, message, recipients, body),
          },
          destinationOf: (message, recipient) =>
            quarantineReason(message) === undefined ? deliverer.destinationOf(message, recipient) : "quarantine",
          processor: createProcessor({
            spool,
            filters: (message) => {
              const { disclaimer } = live.rewriting;
              const processing = events.processing();
              return [
                ...(disclaimer ? [disclaimer] : []),
                ...scanners.filters(),
                ...(processing ? [policyFilter(processing)] : []),
                ...sieve.of(message),
              ];
            },
            state,
            budget,
            log: moduleLogger(log, "PROCESSING"),
          }),
          reports: events.reports,
          retry: { firstMs: config.queue.firstRetry, maxMs: config.queue.maxRetry, attempts: config.queue.attempts },
          hostName: config.server.name,
          budget: { ...budget, queueDeliveries: config.queue.concurrency },
          log: moduleLogger(log, "QUEUE"),
          limitsOf: (destination) => limitsOf(destination),
          suspensions,
          expand: (message) => expandRecipients(message, live, budget),
          onProcessed: (id, verdict) => verdicts.settled(id, verdict),
          onSettled: (_message, results) => {
            for (const { kind } of results) {
              if (kind === "delivered") metrics.add("postern_recipients_delivered_total");
              else if (kind === "relayed") metrics.add("postern_recipients_relayed_total");
              else if (kind === "deferred") metrics.add("postern_recipients_deferred_total");
              else if (kind === "failed") metrics.add("postern_recipients_failed_total");
            }
          },
        }),
      );
    }
    for (const [index, spool] of spools.entries()) {
      const dir = join(config.data, "queue");
      const operations = createOperations({
        spool,
        scheduler: schedulers[index]!,
        store,
        reports: events.reports,
        hostName: config.server.name,
        log: moduleLogger(log, "QUEUE"),
        journal: join(dir, "journal.log"),
      });
      const control = await serveOperations(controlPath(dir, plan.shards[index]!), operations, budget);
      closers.push(() => control.close());
    }
    const gauge = new ProcessLoadGauge(
      {
        queueFolder: config.data,
        diskFree: steps(config.overload.diskFreeMiB, mib),
        memory: steps(config.overload.memoryMiB, mib),
        loopDelayMs: config.overload.loopDelayMs,
        intervalMs: gaugeMs,
      },
      (level, reading) => {
        metrics.set("postern_overload_level", level);
        log[level > 0 ? "warn" : "info"]({ level, ...reading }, level > 0 ? "shedding load" : "load is normal again");
      },
    );
    closers.push(() => gauge.close());

    const factory = createWatchedReception({
      dmarcReports: reports.dmarc,
      policyServices,
      recording: () => observers.recording,
      trial: () => observers.trial,
      live: () => live,
      backEnds: () => deliverer.backEnds,
      spool: spools[0]!,
      log: moduleLogger(log, "SMTP-IN"),
      facts: facts.ofSession,
      metrics,
      processed: (id, timeoutMs) => verdicts.within(id, timeoutMs),
    });
    const listeners = await openListeners(live, {
      factory,
      tlsTicketKeys: plan.tlsTicketKeys,
      load: gauge,
      flow: plan.flow,
      log: moduleLogger(log, "SMTP-IN"),
    });
    const managesieve = scripts && (await openManageSieve(live, scripts, moduleLogger(log, "GATEWAY")));
    if (managesieve) closers.push(() => managesieve.close());
    for (const scheduler of schedulers) scheduler.start();
    reports.start({ spool: spools[0]!, context: () => facts.checkContext(live) });
    closers.push(() => reports.stop());
    const sampler = setInterval(() => {
      metrics.set("postern_sessions", listeners.sessionCount);
      metrics.set(
        "postern_queue_messages",
        spools.reduce((sum, spool) => sum + spool.messageCount, 0),
      );
      metrics.set("postern_event_loop_lag_ms", Math.round(gauge.reading.loopDelayMs));
    }, gaugeMs);
    sampler.unref();

    return {
      addresses: listeners.addresses,
      metrics,
      trial: () => observers.takeCounts(),
      stopTrial: () => observers.stopTrial(),
      async reload(snapshot) {
        const next = await openSnapshot(snapshot);
        if (!next.ok) throw new Error(next.problems);
        const fresh = makeLive(next.compiled);
        await lists.open(fresh.program);
        if (fresh.candidate) await lists.open(fresh.candidate);
        await setQuotas(store, fresh.config);
        listeners.reload(fresh);
        managesieve?.reload(fresh);
        scanners.reload(fresh);
        policyServices.reload(fresh.config.policyServices, fresh.budget);
        await sieve.reload(fresh);
        live = fresh;
        observers.take(fresh, next.compiled.texts);
        limitsOf = destinationLimits(fresh.config);
        const old = deliverer;
        deliverer = makeDeliverer();
        old.close();
        metrics.add("postern_policy_reloads_total");
      },
      async stop(ms) {
        drainMs = ms;
        clearInterval(sampler);
        await listeners.close(ms);
        await closeAll();
      },
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

/** The limits that the configuration names; others are those of `postern store quota`, or the default. */
async function setQuotas(store: ManagedStore, { accounts }: Config): Promise<void> {
  for (const { address, quota } of accounts) if (quota > 0) await store.setQuota(address.toLowerCase(), quota);
}

function steps(values: readonly [number, number, number], unit: number): [number, number, number] {
  return [values[0] * unit, values[1] * unit, values[2] * unit];
}

async function openShard(dir: string, shard: number, live: Live, log: Logger): Promise<DiskSpool> {
  const end = Date.now() + shardWaitMs;
  for (;;) {
    try {
      return await openSpool({
        dir,
        shard,
        budget: live.budget,
        log: moduleLogger(log, "QUEUE"),
        fileThreshold: live.config.queue.fileThreshold,
      });
    } catch (error) {
      if (!String(error).includes("in use by another process") || Date.now() > end) throw error;
      await sleep(50);
    }
  }
}
