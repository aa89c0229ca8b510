/**
 * Sieve in the gateway: the configured scripts compiled with a snapshot, the accounts' own active scripts (ManageSieve)
 * when a message comes for them, both as filters of the processing chain.
 * Invariants: an account's script is compiled once for each version of it. Failure: a broken configured script refuses
 * the snapshot; an account's script that no longer compiles is logged and left out, which is an implicit keep.
 */
import { readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { splitSubaddress } from "../delivery/local.ts";
import { domainOf } from "../message/envelope.ts";
import type { Filter } from "../processing/filter.ts";
import { type SieveFilterOptions, type SieveRan, sieveFilter } from "../processing/sieve-filter.ts";
import { AccountMailboxes } from "../processing/sieve-mailboxes.ts";
import { compileSieveScripts, sieveFilters } from "../processing/sieve-scripts.ts";
import type { QueuedMessage } from "../queue/types.ts";
import { compileSieve } from "../sieve/compile.ts";
import type { SieveLists } from "../sieve/host.ts";
import { fileIncludes } from "../sieve/include-files.ts";
import type { IncludeLoader } from "../sieve/includes.ts";
import type { ScriptDatabase } from "../sieve/managesieve/database.ts";
import { profiles } from "../sieve/profile.ts";
import type { SieveSettings } from "../sieve/settings.ts";
import type { SharedState } from "../state/types.ts";
import type { Store } from "../store/types.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Live } from "./live.ts";

/** What the configuration says about Sieve, over the profile's settings. */
export function sieveSettings({ server, policy, domains }: Config): SieveSettings {
  const { settings } = profiles[policy.sieveProfile];
  return {
    ...settings,
    hostname: server.name,
    domain: domainOf(`@${server.name}`),
    postmaster: server.postmaster || `postmaster@${server.name}`,
    recipientDelimiter: domains.subaddress.delimiter,
    // RFC 5183 §4.1: scripts run before final delivery.
    phase: "pre",
  };
}

/** @param read answers a file's text by its path; undefined when there is none. */
export function compileConfigured(
  { config, budget }: LoadedConfig,
  read: (file: string) => string | undefined,
): ReturnType<typeof compileSieveScripts> {
  const sources = config.policy.sieve.map((entry) => ({
    ...entry,
    text: read(entry.file) ?? "",
    includeLoader: fileIncludes(dirname(entry.file), read),
  }));
  return compileSieveScripts(sources, { budget, settings: sieveSettings(config), profile: config.policy.sieveProfile });
}

/** The files of `managesieve.globalScripts`. Throws when the folder can't be read. */
export function globalScriptFiles({ managesieve }: Config): string[] {
  const folder = managesieve?.globalScripts ?? null;
  if (folder === null) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith(".sieve"))
    .map((name) => join(folder, name));
}

/** The global scripts among `files`, and what is wrong with them; what they include of an account can't be known. */
export function checkGlobals({ config, budget }: LoadedConfig, files: Readonly<Record<string, string>>) {
  const folder = config.managesieve?.globalScripts ?? null;
  const inside = Object.entries(files).filter(([file]) => folder !== null && dirname(file) === folder);
  const scripts = new Map(inside.map(([file, text]) => [basename(file, ".sieve"), text]));
  const settings = sieveSettings(config);
  const includeLoader: IncludeLoader = (location, name) => (location === "global" ? scripts.get(name) : "");
  const diagnostics = inside.flatMap(
    ([file, text]) => compileSieve(text, { file, budget, settings, includeLoader }).diagnostics,
  );
  return { scripts, diagnostics };
}

export interface SieveChain {
  /** Filters of the configured scripts, and of the active ones of the message's recipients. */
  of(message: QueuedMessage): readonly Filter[];
  reload(live: Live): Promise<void>;
}

export interface SieveChainOptions {
  scripts: ScriptDatabase | null;
  state: SharedState;
  store: Pick<Store, "mailboxes">;
  /** Opens the named lists of a configuration. */
  openLists: (files: Readonly<Record<string, string>>) => Promise<SieveLists>;
  log: Logger;
  /** Is told of each run of a script. */
  ran(run: SieveRan): void;
}

/** Compiled scripts of accounts that are kept; the one unused for longest goes first. */
const maxCached = 1_000;
/** Among an account's filters: after the configured ones. */
const accountPriority = 1_000;

export async function createSieveChain(live: Live, given: SieveChainOptions): Promise<SieveChain> {
  const { scripts } = given;
  let options!: ReturnType<typeof optionsOf>;
  let configured: readonly Filter[] = [];
  let cached = new Map<string, { version: number; filter: Filter | undefined }>();
  const reload = async (next: Live): Promise<void> => {
    const lists = await given.openLists(next.config.policy.lists);
    options = optionsOf(next, lists, given);
    configured = sieveFilters(next.sieve, options);
    cached = new Map();
  };
  await reload(live);

  const ownFilter = (account: string, version: number): Filter | undefined => {
    let entry = cached.get(account);
    cached.delete(account);
    if (entry?.version !== version) entry = compileActive(scripts!, account, options);
    cached.set(account, entry);
    if (cached.size > maxCached) cached.delete(cached.keys().next().value!);
    return entry.filter;
  };

  return {
    of({ recipients }) {
      if (scripts === null) return configured;
      const filters = [...configured];
      const accounts = new Set(recipients.map(({ address }) => options.accountOf(address)));
      for (const account of accounts) {
        const version = scripts.activeVersion(account);
        const filter = version === undefined ? undefined : ownFilter(account, version);
        if (filter !== undefined) filters.push(filter);
      }
      return filters;
    },
    reload,
  };
}

function optionsOf(live: Live, lists: SieveLists, { state, log, store, ran }: SieveChainOptions) {
  const { config, budget, isLocal, globalScripts } = live;
  const { delimiter } = config.domains.subaddress;
  return {
    settings: sieveSettings(config),
    budget,
    hostName: config.server.name,
    state,
    log,
    ran,
    isLocal: (address: string) => isLocal(domainOf(address)),
    accountOf: (address: string) => splitSubaddress(address, delimiter).account,
    relayFolders: config.policy.relayFolders,
    lists,
    mailboxes: async (account: string) => new AccountMailboxes(await store.mailboxes(account), config.store.specialUse),
    globalScripts,
  } satisfies Omit<SieveFilterOptions, "level" | "priority"> & { globalScripts: unknown };
}

function compileActive(
  scripts: ScriptDatabase,
  account: string,
  options: ReturnType<typeof optionsOf>,
): { version: number; filter: Filter | undefined } {
  const active = scripts.active(account);
  if (active === undefined) return { version: 0, filter: undefined };
  const { name, text, version } = active;
  const { settings, budget, globalScripts } = options;
  const file = `${account}/${name}`;
  const compiled = compileSieve(text, {
    ...{ file, budget, settings },
    includeLoader: (location, included) =>
      location === "personal" ? scripts.textOf(account, included) : globalScripts.get(included),
  });
  if (compiled.ok) {
    const own = { level: "account", owner: account, priority: accountPriority } as const;
    return { version, filter: sieveFilter(compiled.script, { ...options, ...own }) };
  }
  const reason = compiled.diagnostics.find(({ severity }) => severity === "error")?.message;
  options.log.warn({ script: file, reason }, "an account's Sieve script does not compile; its mail is kept");
  return { version, filter: undefined };
}
