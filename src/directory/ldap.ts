/**
 * Accounts and back ends of an LDAP directory (RFC 4511): an entry found by one of its mail attributes is an account; its
 * password is checked by a bind as the entry; its host attribute names the back end that serves it.
 * Invariants: one connection for searches, opened when needed and closed when idle; addresses are assertion values of
 * the protocol, never filter text; entries are kept for a minute, at most `ldapEntries` of them; passwords are not kept.
 * Failure: every method rejects when the directory can't be asked or finds more than one entry; callers answer 451 or 454.
 */
import { Client, EqualityFilter, InvalidCredentialsError, OrFilter, ResultCodeError } from "ldapts";
import type { Budget } from "../config/budget.ts";
import type { AccountSource } from "./types.ts";

export interface LdapSettings {
  /** ldap://host:port or ldaps://host:port */
  url: string;
  startTls: boolean;
  /** PEM of the roots that the server's certificate must chain to instead of the built-in ones. */
  ca?: string;
  /** Who searches; "" = anonymous. */
  bindDn: string;
  password: string;
  base: string;
  /** Attributes that hold addresses; the first value of the first one is the account's name. */
  mailAttributes: readonly string[];
  hostAttribute: string;
  /** For each operation, ms. */
  timeoutMs: number;
  now?: () => number;
}

interface Entry {
  dn: string;
  account: string;
  /** "" when it has none. */
  host: string;
}

const keepMs = 60_000;
const idleMs = 30_000;

export class LdapError extends Error {
  override name = "LdapError";
}

export class LdapDirectory implements AccountSource {
  readonly #settings: LdapSettings;
  readonly #limit: number;
  readonly #now: () => number;
  readonly #known = new Map<string, { entry: Entry | undefined; until: number }>();
  #searcher: Promise<Client> | undefined;
  #idle: NodeJS.Timeout | undefined;

  constructor(settings: LdapSettings, budget: Pick<Budget, "ldapEntries">) {
    this.#settings = settings;
    this.#limit = budget.ldapEntries;
    this.#now = settings.now ?? Date.now;
  }

  async find(address: string): Promise<string | undefined> {
    return (await this.#entry(address))?.account;
  }

  /** The host that serves an address; undefined when the entry names none, or there is no entry. */
  async hostOf(address: string): Promise<string | undefined> {
    return (await this.#entry(address))?.host || undefined;
  }

  async verify(address: string, password: string): Promise<boolean> {
    // RFC 4513 §5.1.2: a bind without a password succeeds for everybody.
    if (password === "") return false;
    const entry = await this.#entry(address);
    if (entry === undefined) return false;
    const client = await this.#connect();
    try {
      await client.bind(entry.dn, password);
      return true;
    } catch (error) {
      if (error instanceof InvalidCredentialsError) return false;
      throw asError(error);
    } finally {
      close(client);
    }
  }

  /** Ends the connection; a later question opens another. */
  close(): void {
    clearTimeout(this.#idle);
    const searcher = this.#searcher;
    this.#searcher = undefined;
    searcher?.then(close, () => {}); // one that was never opened needs no end
  }

  async #entry(address: string): Promise<Entry | undefined> {
    const key = address.toLowerCase();
    const known = this.#known.get(key);
    if (known && known.until > this.#now()) return known.entry;
    this.#known.delete(key);
    const entry = await this.#search(key);
    if (this.#known.size >= this.#limit) this.#known.delete(this.#known.keys().next().value!);
    this.#known.set(key, { entry, until: this.#now() + keepMs });
    return entry;
  }

  async #search(address: string): Promise<Entry | undefined> {
    const { base, mailAttributes, hostAttribute } = this.#settings;
    const filters = mailAttributes.map((attribute) => new EqualityFilter({ attribute, value: address }));
    const wanted = { filter: new OrFilter({ filters }), attributes: [...mailAttributes, hostAttribute], sizeLimit: 2 };
    for (let again = false; ; again = true) {
      try {
        const client = await this.#ready();
        const { searchEntries } = await client.search(base, wanted);
        if (searchEntries.length > 1) throw new LdapError(`${address} is in more than one entry`);
        const [found] = searchEntries;
        if (found === undefined) return undefined;
        const account = textOf(found[mailAttributes[0]!]) || address;
        return { dn: found.dn, account: account.toLowerCase(), host: textOf(found[hostAttribute]).trim() };
      } catch (error) {
        // The server may have closed an idle connection; what it answered stands.
        if (again || error instanceof ResultCodeError || error instanceof LdapError) throw asError(error);
        this.close();
      }
    }
  }

  async #ready(): Promise<Client> {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.close(), idleMs).unref();
    if (this.#searcher !== undefined) {
      const client = await this.#searcher;
      if (client.isConnected) return client;
    }
    const { bindDn, password } = this.#settings;
    const opening = (async () => {
      const client = await this.#connect();
      await client.bind(bindDn, password);
      return client;
    })();
    this.#searcher = opening;
    try {
      return await opening;
    } catch (error) {
      if (this.#searcher === opening) this.#searcher = undefined;
      throw error;
    }
  }

  async #connect(): Promise<Client> {
    const { url, startTls, ca, timeoutMs } = this.#settings;
    const tlsOptions = ca === undefined ? {} : { ca };
    const secure = url.startsWith("ldaps:");
    const client = new Client({
      url,
      timeout: timeoutMs,
      connectTimeout: timeoutMs,
      ...(secure ? { tlsOptions } : {}),
    });
    if (startTls && !secure) await client.startTLS(tlsOptions);
    return client;
  }
}

function close(client: Client): void {
  client.unbind().catch(() => {}); // the server was quicker
}

function asError(error: unknown): Error {
  if (error instanceof LdapError) return error;
  return new LdapError(`LDAP: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}

/** The first value of an attribute as text. */
function textOf(value: Buffer | Buffer[] | string | string[] | undefined): string {
  const first = Array.isArray(value) ? value[0] : value;
  return first === undefined ? "" : first.toString();
}
