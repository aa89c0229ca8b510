/**
 * The filter chain of processing, from the configuration: scanners and the policy's onProcessing event.
 * Invariants: connections and circuit breakers of a scanner live as long as its configuration entry stays the same.
 * Failure: a bad scanner address throws RangeError when the configuration is taken, so that a reload is refused.
 */
import type { Budget } from "../config/budget.ts";
import type { ScannerConfig } from "../config/schema.ts";
import type { Filter } from "../processing/filter.ts";
import { policyFilter } from "../processing/policy-filter.ts";
import { milterFilter, scannerFilter } from "../processing/scanner-filter.ts";
import { GuardedScanner } from "../scanners/breaker.ts";
import { ClamavScanner } from "../scanners/clamav.ts";
import { MilterClient, milterSettings } from "../scanners/milter/link.ts";
import { RspamdScanner } from "../scanners/rspamd.ts";
import { SpamassassinScanner } from "../scanners/spamassassin.ts";
import { parseSocketAddress } from "../scanners/stream.ts";
import type { Scanner } from "../scanners/types.ts";
import type { Live } from "./live.ts";
import type { MessageEvents } from "./message-events.ts";

export interface FilterChain {
  /** The filters in force. */
  current(): readonly Filter[];
  /** Takes the scanners of a new configuration. */
  reload(live: Live): void;
  close(): Promise<void>;
}

interface ScannerEntry {
  key: string;
  filter: Filter;
  close(): Promise<void>;
}

export function createFilters(live: Live, events: MessageEvents): FilterChain {
  let entries: ScannerEntry[] = live.config.scanners.map((scanner) => openScanner(scanner, live));
  return {
    current() {
      const processing = events.processing();
      const filters = entries.map((entry) => entry.filter);
      return processing ? [...filters, policyFilter(processing)] : filters;
    },
    reload(next) {
      const kept = new Map(entries.map((entry) => [entry.key, entry]));
      const before = entries;
      entries = next.config.scanners.map((scanner) => kept.get(keyOf(scanner)) ?? openScanner(scanner, next));
      for (const entry of before) if (!entries.includes(entry)) void entry.close();
    },
    async close() {
      await Promise.all(entries.map((entry) => entry.close()));
    },
  };
}

function keyOf(scanner: ScannerConfig): string {
  return JSON.stringify(scanner);
}

function openScanner(config: ScannerConfig, live: Live): ScannerEntry {
  const { budget } = live;
  const key = keyOf(config);
  const address = parseSocketAddress(config.address);
  if (config.type === "milter") {
    const { name, onError, timeout } = config;
    const client = new MilterClient(milterSettings({ name, address, failure: onError, contentMs: timeout }), budget);
    const filter = milterFilter(client, config.priority, live.config.server.name, budget);
    return { key, filter, close: async () => client.close() };
  }
  const scanner = new GuardedScanner(scannerOf(config, budget), { concurrency: config.concurrency });
  const { priority, onError, maxBytes, onVirus, onSpam } = config;
  const filter = scannerFilter(scanner, { priority, onError, maxBytes, onVirus, onSpam });
  return { key, filter, close: () => scanner.close() };
}

function scannerOf(config: Exclude<ScannerConfig, { type: "milter" }>, budget: Budget): Scanner {
  const common = { name: config.name, address: parseSocketAddress(config.address), timeoutMs: config.timeout, budget };
  switch (config.type) {
    case "clamav":
      return new ClamavScanner(common);
    case "spamassassin":
      return new SpamassassinScanner(common);
    case "rspamd":
      return new RspamdScanner({ ...common, ...(config.password === undefined ? {} : { password: config.password }) });
  }
}
