/**
 * Who exists here: the one interface through which reception, delivery and policy ask about domains and accounts.
 * Implementations: accounts.ts (from the configuration); an LDAP directory can stand behind the same interface, which
 * is why every answer may come later. Failure: a directory that can't be asked rejects; callers answer 451, never 550.
 */

export interface Credentials {
  mechanism: string;
  username: string;
  /** Identity to act as (SASL authzid), "" when not given. */
  authzid: string;
  /** PLAIN/LOGIN: the password. Others: a verifier that the directory calls. */
  password?: string;
  verify?: (secret: StoredSecret) => boolean;
  token?: string;
}

/** A stored secret of one account: scrypt hash, SCRAM keys or plain (for CRAM-MD5). */
export interface StoredSecret {
  scheme: "scrypt" | "scram-sha-256" | "plain";
  value: string;
}

export interface AuthVerdict {
  ok: boolean;
  /** Canonical account name; "" when not ok. */
  user: string;
}

export interface Directory {
  /** True when mail for the domain ends here. `domain` in any case. */
  isLocal(domain: string): boolean | Promise<boolean>;
  /** Accounts that an address stands for: itself, or an alias's targets; [] when it doesn't exist. */
  resolve(address: string): readonly string[] | Promise<readonly string[]>;
  exists(address: string): boolean | Promise<boolean>;
  authenticate(credentials: Credentials): Promise<AuthVerdict>;
  /** Stored keys for challenge mechanisms; undefined when the account has none of that scheme. */
  lookupSecret(
    username: string,
    scheme: StoredSecret["scheme"],
  ): StoredSecret | undefined | Promise<StoredSecret | undefined>;
  /** True when `user` may write `address` as sender: its own address or one of its aliases. */
  maySendAs(user: string, address: string): boolean;
}

/** Accounts kept outside (ldap.ts). Every method rejects when they can't be asked about. */
export interface AccountSource {
  /** The account that an address stands for, in lower case; undefined when there is none. */
  find(address: string): Promise<string | undefined>;
  verify(address: string, password: string): Promise<boolean>;
}

/** Checks a bearer token (XOAUTH2, OAUTHBEARER). Answers the account it stands for, undefined when it isn't valid. */
export interface TokenVerifier {
  verify(token: string): Promise<string | undefined>;
}
