/**
 * What is in force now, made whole from one snapshot: configuration, policy program, directory, trusted networks.
 * Immutable; a reload makes a new one and swaps the reference, and sessions keep the one they began with
 * (smtpfilters.md §11.4). Failure: a bad network or account throws RangeError, and the old one stays.
 */
import { readFile } from "node:fs/promises";
import { type Network, parseNetwork } from "../checks/address.ts";
import type { DnsListSettings, GreylistSettings } from "../checks/methods.ts";
import type { Budget } from "../config/budget.ts";
import type { Config } from "../config/schema.ts";
import type { Names } from "../delivery/expand.ts";
import { isMapped, type UserMap } from "../delivery/user-map.ts";
import { AccountDirectory } from "../directory/accounts.ts";
import { type Jwk, JwtVerifier } from "../directory/jwt.ts";
import type { PolicyProgram } from "../policy/types.ts";
import type { CompiledSieve } from "../processing/sieve-scripts.ts";
import { NetworkSet } from "../smtp/incoming/access.ts";
import { makeLdap } from "./ldap.ts";
import type { Rewriting } from "./rewriting.ts";
import type { OfferedMechanisms } from "./session-settings.ts";
import type { Compiled } from "./snapshot.ts";

export interface Live extends Names {
  readonly config: Config;
  readonly budget: Budget;
  readonly program: PolicyProgram;
  /** The policy on trial beside it. */
  readonly candidate?: PolicyProgram;
  readonly directory: AccountDirectory;
  /** SASL mechanisms that the accounts' stored secrets allow, upper case. */
  readonly authMechanisms: OfferedMechanisms;
  readonly rewriting: Rewriting;
  /** In the order they are asked. */
  readonly userMaps: readonly UserMap[];
  readonly sieve: readonly CompiledSieve[];
  readonly globalScripts: ReadonlyMap<string, string>;
  readonly dnsLists: DnsListSettings;
  /** undefined: greylisting is off. */
  readonly greylist: GreylistSettings | undefined;
  /** Client is in relay.trustedNetworks. */
  trusts(ip: string): boolean;
  /** Mail for the domain (lower case) is taken from everyone and passed on. */
  relaysFor(domain: string): boolean;
}

export function makeLive(compiled: Compiled): Live {
  const { config, budget } = compiled.loaded;
  const { rewriting } = compiled;
  const trusted = new NetworkSet(config.relay.trustedNetworks);
  const relayed = new Set(config.domains.relay);
  const { frontEnd } = config.domains;
  const ldap = makeLdap(config, budget, rewriting.ldapCa);
  const userMaps = [...rewriting.userMaps, ...(ldap.userMap ? [ldap.userMap] : [])];
  const mechanisms = mechanismsOf(config);
  // A relay without local domains keeps its postmaster's mail, unless that is somebody else's (RFC 5321 §4.5.1).
  const { local, relay } = config.domains;
  const lonely = local.length === 0 && config.server.postmaster === "" && !relay.includes(config.server.name);
  const postmaster = `postmaster@${config.server.name}`;
  const directory = new AccountDirectory({
    localDomains: lonely ? [config.server.name] : local,
    ...(config.server.postmaster === "" ? {} : { postmaster: config.server.postmaster }),
    ...(ldap.accounts ? { elsewhere: ldap.accounts } : {}),
    subaddressDelimiter: config.domains.subaddress.delimiter,
    accounts: config.accounts.map(({ address, password, scram, plain }) => ({
      address,
      ...(password === "" ? {} : { password }),
      ...(scram === undefined ? {} : { scram }),
      ...(plain === undefined ? {} : { plain }),
    })),
    ...(config.tokens === null ? {} : { tokens: tokenVerifier(config.tokens) }),
    aliases: {
      ...(lonely ? { [postmaster]: [postmaster] } : {}),
      ...Object.fromEntries(
        Object.entries(config.domains.aliases).map(([alias, to]) => [alias, typeof to === "string" ? [to] : to]),
      ),
    },
  });
  return {
    config,
    budget,
    program: compiled.program,
    ...(compiled.candidate ? { candidate: compiled.candidate } : {}),
    directory,
    authMechanisms: { secure: mechanisms, plain: config.smtp.plainTextAuth ? mechanisms : [] },
    rewriting,
    sieve: compiled.sieve,
    globalScripts: compiled.globalScripts,
    isLocal: (domain) => directory.isLocal(domain),
    userMaps,
    hasBackEnd: (address) => frontEnd !== null && isMapped(userMaps, address),
    resolve: (address) => directory.resolve(address),
    reverse: (address) => rewriting.srs?.reverse(address),
    dnsLists: { ...config.dnsLists, skip: config.dnsLists.skip.map((text) => networkOf("dnsLists.skip", text)) },
    greylist: greylistOf(config),
    trusts: (ip) => trusted.has(ip),
    relaysFor: (domain) => relayed.has(domain),
  };
}

/** Strongest first: clients tend to take the first one that they know. */
function mechanismsOf({ accounts, tokens, domains, ldap }: Config): string[] {
  const passwords =
    domains.frontEnd?.authenticate || ldap?.accounts || accounts.some(({ password }) => password !== "");
  return [
    ...(accounts.some(({ scram }) => scram !== undefined) ? ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"] : []),
    ...(passwords ? ["PLAIN", "LOGIN"] : []),
    ...(accounts.some(({ plain }) => plain !== undefined) ? ["CRAM-MD5"] : []),
    ...(tokens === null ? [] : ["XOAUTH2", "OAUTHBEARER"]),
  ];
}

/** Largest key set file, octets. */
const keySetOctets = 1024 * 1024;

function tokenVerifier(tokens: NonNullable<Config["tokens"]>): JwtVerifier {
  const { issuer, audience, userClaim } = tokens;
  const keys = async (): Promise<readonly Jwk[]> => {
    const text = await readFile(tokens.keys, "utf8");
    if (text.length > keySetOctets) throw new RangeError(`${tokens.keys}: more than ${keySetOctets} octets`);
    const set = JSON.parse(text) as { keys?: unknown };
    if (!Array.isArray(set.keys)) throw new RangeError(`${tokens.keys}: not a JSON Web Key Set`);
    return set.keys as Jwk[]; // what is no key of ours is left out by the verifier
  };
  return new JwtVerifier({ issuer, audience, userClaim, keys });
}

function greylistOf({ greylist }: Config): GreylistSettings | undefined {
  const { autoWhitelist, delay, enabled, lifetime, skip, skipSpfPass, window } = greylist;
  if (!enabled) return undefined;
  return {
    ...{ delayMs: delay, windowMs: window, lifetimeMs: lifetime, autoWhitelist, skipSpfPass },
    skip: skip.map((text) => networkOf("greylist.skip", text)),
  };
}

function networkOf(key: string, text: string): Network {
  const network = parseNetwork(text);
  if (network === undefined) throw new RangeError(`${key}: ${text} is no network`);
  return network;
}
