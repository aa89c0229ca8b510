/**
 * The LDAP directory of the configuration, as a source of accounts and as a user map.
 * Failure: none here; the directory is asked when an address is.
 */
import type { Budget } from "../config/budget.ts";
import type { Config } from "../config/schema.ts";
import { backEndHop, type UserMap } from "../delivery/user-map.ts";
import { LdapDirectory } from "../directory/ldap.ts";
import type { AccountSource } from "../directory/types.ts";

export interface LdapUses {
  accounts?: AccountSource;
  userMap?: UserMap;
}

/** @param ca PEM of trusted roots instead of the built-in ones */
export function makeLdap({ ldap }: Config, budget: Budget, ca: string | undefined): LdapUses {
  if (ldap === null) return {};
  const { timeout, ca: _file, accounts, userMap, ...settings } = ldap;
  const directory = new LdapDirectory({ ...settings, timeoutMs: timeout, ...(ca === undefined ? {} : { ca }) }, budget);
  const find = async (address: string): Promise<string | undefined> => {
    const host = await directory.hostOf(address);
    return host === undefined ? undefined : backEndHop(host, "ldap");
  };
  return { ...(accounts ? { accounts: directory } : {}), ...(userMap ? { userMap: { name: "ldap", find } } : {}) };
}
