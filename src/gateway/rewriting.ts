/**
 * What the gateway changes of addresses and messages that pass through it, from the configuration and the files it
 * names: user maps, address maps, SRS, blind copies, disclaimer.
 * Invariants: immutable; made whole from one snapshot, so that a reload swaps everything at once.
 * Failure: `makeRewriting` throws RangeError, UserMapError or BudgetExceeded for a file that can't be used, naming file
 * and line; the caller keeps what it had.
 */
import type { Budget } from "../config/budget.ts";
import type { Config } from "../config/schema.ts";
import { type AddressMap, parseAddressMap } from "../delivery/address-map.ts";
import { appendDisclaimer, type Disclaimer } from "../delivery/disclaimer.ts";
import { Srs } from "../delivery/srs.ts";
import { parseUserMap, type UserMap } from "../delivery/user-map.ts";
import { type Glob, matchGlob, parseGlob } from "../language/glob.ts";
import { domainOf, type Recipient } from "../message/envelope.ts";
import type { Filter } from "../processing/filter.ts";

export interface Rewriting {
  userMaps: readonly UserMap[];
  sender: AddressMap | undefined;
  recipient: AddressMap | undefined;
  srs: Srs | undefined;
  /** Puts the disclaimer on; first of the filters, because signatures must cover it. */
  disclaimer: Filter | undefined;
  /** Trusted roots for outgoing TLS instead of the built-in ones. */
  ca: string | undefined;
  /** Trusted roots for the LDAP directory. */
  ldapCa: string | undefined;
  /** Addresses that get a blind copy of a message. */
  copiesFor(mailFrom: string, recipients: readonly Recipient[]): string[];
}

/** Files that `makeRewriting` needs the text of. */
export function rewritingFiles(config: Config): string[] {
  const { sender, recipient } = config.rewriting;
  const authorities = [config.relay.tls.ca, config.ldap?.ca ?? null];
  const named = [sender, recipient, ...authorities, ...config.domains.userMaps.map((map) => map.file)];
  return named.filter((file) => file !== null);
}

export function makeRewriting(config: Config, budget: Budget, files: Readonly<Record<string, string>>): Rewriting {
  const { relay, rewriting, domains, server } = config;
  const textOf = (file: string): string => files[file] ?? "";
  const map = (file: string | null): AddressMap | undefined =>
    file === null ? undefined : parseAddressMap(textOf(file), file, budget);
  const secrets = [relay.srsSecret].flat().filter((secret) => secret !== "");
  const local = new Set(domains.local);
  return {
    userMaps: domains.userMaps.map(({ name, file }) => parseUserMap(textOf(file), name, budget)),
    sender: map(rewriting.sender),
    recipient: map(rewriting.recipient),
    srs: secrets.length === 0 ? undefined : new Srs({ domain: server.name, secrets }),
    disclaimer:
      rewriting.disclaimer === null ? undefined : disclaimerFilter(noticeOf(rewriting.disclaimer), local, budget),
    ca: relay.tls.ca === null ? undefined : textOf(relay.tls.ca),
    ldapCa: config.ldap?.ca ? textOf(config.ldap.ca) : undefined,
    copiesFor: copyRules(rewriting.copies),
  };
}

function copyRules(copies: Config["rewriting"]["copies"]): Rewriting["copiesFor"] {
  const rules = copies.map(({ sender, recipient, to }) => ({
    sender: folded(sender),
    recipient: folded(recipient),
    to,
  }));
  return (mailFrom, recipients) => {
    const wanted = rules.filter(
      (rule) =>
        matchGlob(rule.sender, mailFrom.toLowerCase()) !== undefined &&
        recipients.some(({ address }) => matchGlob(rule.recipient, address.toLowerCase()) !== undefined),
    );
    return wanted.map((rule) => rule.to);
  };
}

function folded(pattern: string): Glob {
  return parseGlob(pattern.toLowerCase());
}

function noticeOf({ text, html }: { text: string; html?: string | undefined }): Disclaimer {
  return html === undefined ? { text } : { text, html };
}

/** Mail of authenticated senders that leaves the house; a message too large to be looked at whole stays as it is. */
function disclaimerFilter(notice: Disclaimer, local: ReadonlySet<string>, budget: Budget): Filter {
  return {
    name: "disclaimer",
    level: "server",
    priority: -1,
    applies: (address) => !local.has(domainOf(address)),
    async run({ message, content }) {
      if (message.client.authUser === "" || content.truncated || content.size > budget.convertedBody) return {};
      const whole = Buffer.concat(await Array.fromAsync(content.bytes()));
      const changed = appendDisclaimer(whole, notice, budget);
      if (changed === undefined) return {};
      const end = changed.indexOf("\r\n\r\n") + 4;
      return { header: changed.subarray(0, end), body: changed.subarray(end) };
    },
  };
}
