/**
 * The directory of postern.yaml: local domains, accounts with scrypt hashes, aliases.
 * Invariants: addresses compare without case; at most `maxVerifications` passwords are hashed at once and
 * `maxWaiting` more wait, so that AUTH floods can't take memory or the thread pool from file work; unknown users take
 * as long as known ones. Failure: a bad account throws RangeError at load; too many waiting rejects with `Busy`.
 */
import { domainOf, localPartOf } from "../message/envelope.ts";
import { decoyHash, isPasswordHash, verifyPassword } from "./password.ts";
import type { AccountSource, AuthVerdict, Credentials, Directory, StoredSecret, TokenVerifier } from "./types.ts";

export interface Account {
  address: string;
  /** `$scrypt$…` as made by `hashPassword`. */
  password?: string;
  /** SCRAM-SHA-256 keys as made by `scramKeys` (RFC 5803 form). */
  scram?: string;
  /** Clear text, only for CRAM-MD5, which can't work without. */
  plain?: string;
  /** Further addresses that this account receives for and may write as. */
  aliases?: readonly string[];
}

export interface AccountsOptions {
  localDomains: readonly string[];
  accounts: readonly Account[];
  /** alias address → target addresses (distribution lists, role addresses); "@domain" is a catch-all. */
  aliases?: Readonly<Record<string, readonly string[]>>;
  tokens?: TokenVerifier;
  /** Knows further accounts of the local domains. */
  elsewhere?: AccountSource;
  /** Who gets mail for postmaster where nobody else is named; default postmaster at the first local domain. */
  postmaster?: string;
  /** Separates the user from the detail of a subaddress (RFC 5233); default "", no subaddresses. */
  subaddressDelimiter?: string;
}

export class Busy extends Error {
  override name = "Busy";
}

/** Each scrypt run takes 32 MiB and about 50 ms of one core. */
const maxVerifications = 2;
const maxWaiting = 200;
const refused: AuthVerdict = { ok: false, user: "" };

export class AccountDirectory implements Directory {
  private readonly domains: ReadonlySet<string>;
  private readonly accounts = new Map<string, Account>();
  private readonly targets = new Map<string, readonly string[]>();
  /** Local domains with an account or alias of their own; in the others every address exists. */
  private readonly populated = new Set<string>();
  private readonly tokens: TokenVerifier | undefined;
  private readonly delimiter: string;
  private readonly postmaster: string;
  private readonly elsewhere: AccountSource | undefined;
  private running = 0;
  private readonly waiting: Array<() => void> = [];

  constructor(options: AccountsOptions) {
    this.domains = new Set(options.localDomains.map((domain) => domain.toLowerCase()));
    this.tokens = options.tokens;
    this.delimiter = options.subaddressDelimiter ?? "";
    this.elsewhere = options.elsewhere;
    const [first = ""] = this.domains;
    this.postmaster = options.postmaster?.toLowerCase() ?? `postmaster@${first}`;
    for (const account of options.accounts) this.add(account);
    for (const [alias, targets] of Object.entries(options.aliases ?? {})) {
      this.targets.set(alias.toLowerCase(), targets);
      this.populated.add(domainOf(alias));
    }
  }

  private add(account: Account): void {
    const address = account.address.toLowerCase();
    if (!this.domains.has(domainOf(address))) throw new RangeError(`account ${address} is not in a local domain`);
    if (this.accounts.has(address)) throw new RangeError(`account ${address} is there twice`);
    if (account.password !== undefined && !isPasswordHash(account.password)) {
      throw new RangeError(`account ${address}: the password is not a $scrypt$ hash`);
    }
    this.accounts.set(address, account);
    this.populated.add(domainOf(address));
    for (const alias of account.aliases ?? []) this.targets.set(alias.toLowerCase(), [address]);
  }

  isLocal(domain: string): boolean {
    return this.domains.has(domain.toLowerCase().replace(/\.$/, ""));
  }

  resolve(address: string): readonly string[] | Promise<readonly string[]> {
    const wanted = this.canonical(address);
    const named = this.named(wanted);
    if (named !== undefined) return named;
    return this.elsewhere !== undefined && this.domains.has(domainOf(wanted))
      ? this.resolveElsewhere(this.elsewhere, wanted)
      : this.resolveOther(wanted);
  }

  exists(address: string): boolean | Promise<boolean> {
    const found = this.resolve(address);
    return found instanceof Promise ? found.then((targets) => targets.length > 0) : found.length > 0;
  }

  /** What the configuration has under this address, with or without its detail. */
  private named(wanted: string): readonly string[] | undefined {
    if (this.accounts.has(wanted)) return [wanted];
    const targets = this.targets.get(wanted);
    if (targets) return targets;
    const user = this.withoutDetail(wanted);
    // An account keeps the detail, which may name a folder; an alias has nothing to do with it.
    return user !== wanted && this.accounts.has(user) ? [wanted] : this.targets.get(user);
  }

  private async resolveElsewhere(source: AccountSource, wanted: string): Promise<readonly string[]> {
    const account = await source.find(wanted);
    if (account !== undefined) return [account];
    const user = this.withoutDetail(wanted);
    if (user !== wanted && (await source.find(user)) === user) return [wanted];
    return this.resolveOther(wanted);
  }

  private resolveOther(wanted: string): readonly string[] {
    const domain = domainOf(wanted);
    const all = this.targets.get(`@${domain}`);
    if (all) return all;
    const served = this.domains.has(domain);
    // RFC 5321 §4.5.1: there is a postmaster at every domain served here.
    if (served && localPartOf(wanted) === "postmaster") return [this.postmaster];
    // A gateway may not know the users of a domain that it takes mail for: then each address stands for itself.
    const unknown = served && this.elsewhere === undefined && !this.populated.has(domain);
    return unknown || wanted === this.postmaster ? [wanted] : [];
  }

  private withoutDetail(address: string): string {
    const local = localPartOf(address);
    const at = this.delimiter === "" ? -1 : local.indexOf(this.delimiter);
    return at > 0 ? `${local.slice(0, at)}@${domainOf(address)}` : address;
  }

  /** Lower case; "postmaster" without a domain belongs to the first local one (RFC 5321 §4.5.1). */
  private canonical(address: string): string {
    const lower = address.toLowerCase();
    if (lower !== "postmaster") return lower;
    const [first] = this.domains;
    return first === undefined ? this.postmaster : `postmaster@${first}`;
  }

  async authenticate(credentials: Credentials): Promise<AuthVerdict> {
    const user = await this.identify(credentials);
    if (user === undefined) return refused;
    // RFC 4616 §2: acting as somebody else needs a right that accounts here don't have.
    if (credentials.authzid !== "" && credentials.authzid.toLowerCase() !== user) return refused;
    return { ok: true, user };
  }

  private async identify(credentials: Credentials): Promise<string | undefined> {
    if (credentials.token !== undefined) return this.identifyByToken(credentials.token, credentials.username);
    const name = credentials.username.toLowerCase();
    const account = this.accounts.get(name);
    if (credentials.verify) {
      const secrets = [this.secretOf(account, "scram-sha-256"), this.secretOf(account, "plain")];
      return secrets.some((secret) => secret && credentials.verify!(secret)) ? name : undefined;
    }
    if (credentials.password === undefined) return undefined;
    if (account === undefined && this.elsewhere !== undefined && this.isLocal(domainOf(name))) {
      return (await this.elsewhere.verify(name, credentials.password)) ? this.elsewhere.find(name) : undefined;
    }
    const matches = await this.verify(credentials.password, account?.password ?? decoyHash);
    return matches && account?.password !== undefined ? name : undefined;
  }

  /** RFC 7628 §3.1: the name beside the token may be empty, but must not be another. */
  private async identifyByToken(token: string, username: string): Promise<string | undefined> {
    const user = (await this.tokens?.verify(token))?.toLowerCase();
    if (user === undefined || !this.accounts.has(user)) return undefined;
    return username === "" || username.toLowerCase() === user ? user : undefined;
  }

  private async verify(password: string, hash: string): Promise<boolean> {
    if (this.running >= maxVerifications) {
      if (this.waiting.length >= maxWaiting) throw new Busy("too many passwords to verify");
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    } else this.running++;
    try {
      return await verifyPassword(password, hash);
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.running--;
    }
  }

  lookupSecret(username: string, scheme: StoredSecret["scheme"]): StoredSecret | undefined {
    return this.secretOf(this.accounts.get(username.toLowerCase()), scheme);
  }

  private secretOf(account: Account | undefined, scheme: StoredSecret["scheme"]): StoredSecret | undefined {
    const value = { scrypt: account?.password, "scram-sha-256": account?.scram, plain: account?.plain }[scheme];
    return value === undefined ? undefined : { scheme, value };
  }

  maySendAs(user: string, address: string): boolean {
    const own = user.toLowerCase();
    const wanted = address.toLowerCase();
    return wanted === own || (this.targets.get(wanted)?.some((target) => target.toLowerCase() === own) ?? false);
  }
}
