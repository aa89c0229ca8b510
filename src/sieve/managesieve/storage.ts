/**
 * Where ManageSieve keeps scripts. `MemoryScripts` is for tests and single runs; the gateway brings a durable one.
 * Invariants: names are unique per user; at most one script is active; the active one can't be deleted (RFC 5804 §2.10).
 */
export interface ScriptStorage {
  list(user: string): Promise<Array<{ name: string; active: boolean }>>;
  get(user: string, name: string): Promise<string | undefined>;
  put(user: string, name: string, text: string): Promise<void>;
  delete(user: string, name: string): Promise<void>;
  rename(user: string, from: string, to: string): Promise<void>;
  /** "" makes none active. */
  activate(user: string, name: string): Promise<void>;
}

export class MemoryScripts implements ScriptStorage {
  readonly #scripts = new Map<string, Map<string, string>>();
  readonly #active = new Map<string, string>();

  #of(user: string): Map<string, string> {
    let scripts = this.#scripts.get(user);
    if (scripts === undefined) this.#scripts.set(user, (scripts = new Map()));
    return scripts;
  }

  async list(user: string): Promise<Array<{ name: string; active: boolean }>> {
    return [...this.#of(user).keys()].map((name) => ({ name, active: this.#active.get(user) === name }));
  }

  async get(user: string, name: string): Promise<string | undefined> {
    return this.#of(user).get(name);
  }

  async put(user: string, name: string, text: string): Promise<void> {
    this.#of(user).set(name, text);
  }

  async delete(user: string, name: string): Promise<void> {
    this.#of(user).delete(name);
  }

  async rename(user: string, from: string, to: string): Promise<void> {
    const scripts = this.#of(user);
    scripts.set(to, scripts.get(from) ?? "");
    scripts.delete(from);
    if (this.#active.get(user) === from) this.#active.set(user, to);
  }

  async activate(user: string, name: string): Promise<void> {
    this.#active.set(user, name);
  }
}
