/**
 * What is in force now, made whole from one snapshot: configuration, policy program, directory, trusted networks.
 * Immutable; a reload makes a new one and swaps the reference, and sessions keep the one they began with
 * (smtpfilters.md §11.4). Failure: a bad network or account throws RangeError, and the old one stays.
 */
import type { Budget } from "../config/budget.ts";
import type { Config } from "../config/schema.ts";
import { AccountDirectory } from "../directory/accounts.ts";
import type { PolicyProgram } from "../policy/types.ts";
import { NetworkSet } from "../smtp/incoming/access.ts";
import type { Compiled } from "./snapshot.ts";

export interface Live {
  readonly config: Config;
  readonly budget: Budget;
  readonly program: PolicyProgram;
  readonly directory: AccountDirectory;
  /** SASL mechanisms that the accounts' stored secrets allow, upper case. */
  readonly authMechanisms: readonly string[];
  /** Client is in relay.trustedNetworks. */
  trusts(ip: string): boolean;
}

export function makeLive(compiled: Compiled): Live {
  const { config, budget } = compiled.loaded;
  const trusted = new NetworkSet(config.relay.trustedNetworks);
  const directory = new AccountDirectory({
    localDomains: config.domains.local,
    accounts: config.accounts.map(({ address, password }) => ({ address, ...(password === "" ? {} : { password }) })),
    aliases: Object.fromEntries(
      Object.entries(config.domains.aliases).map(([alias, to]) => [alias, typeof to === "string" ? [to] : to]),
    ),
  });
  return {
    config,
    budget,
    program: compiled.program,
    directory,
    authMechanisms: config.accounts.some((account) => account.password !== "") ? ["PLAIN", "LOGIN"] : [],
    trusts: (ip) => trusted.has(ip),
  };
}
