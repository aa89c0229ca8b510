/**
 * One ManageSieve session (RFC 5804) as commands become replies; sockets and TLS are server.ts's.
 * Invariants: scripts are checked before they are stored; a user sees the own scripts only; passwords are taken over
 * TLS only, unless the listener says otherwise. Failure: NO with a reason; BYE ends the session.
 */
import { compileSieve } from "../compile.ts";
import { registry } from "../extensions/index.ts";
import { defaultSettings, type SieveSettings } from "../settings.ts";
import { type Word, written } from "./protocol.ts";
import type { ScriptStorage } from "./storage.ts";

export interface SessionOptions {
  storage: ScriptStorage;
  /** Answers the account's canonical name, undefined when the password is wrong; rejects when it can't be told now. */
  authenticate(user: string, password: string): Promise<string | undefined>;
  settings?: SieveSettings;
  /** Octets and number of a user's scripts. */
  scriptBytes?: number;
  scripts?: number;
  /** Take passwords without TLS: for loopback and tests. */
  plainText?: boolean;
}

export interface Reply {
  text: string;
  /** What the socket does after the reply. */
  then?: "close" | "starttls";
}

const maxAuthFailures = 3;

export class ManageSieveSession {
  readonly #options: SessionOptions;
  #tls: boolean;
  readonly #canStartTls: boolean;
  #user: string | undefined;
  #failures = 0;
  /** AUTHENTICATE waits for the client's answer. */
  #awaitingPlain = false;

  constructor(options: SessionOptions, tls: boolean, canStartTls: boolean) {
    this.#options = options;
    this.#tls = tls;
    this.#canStartTls = canStartTls;
  }

  greeting(): string {
    return `${this.#capabilities()}OK "Postern ManageSieve"\r\n`;
  }

  /** §2.2: after TLS began the client has to see the capabilities anew. */
  tlsStarted(): string {
    this.#tls = true;
    this.#user = undefined;
    return `${this.#capabilities()}OK\r\n`;
  }

  async handle(words: readonly Word[]): Promise<Reply> {
    if (this.#awaitingPlain) {
      this.#awaitingPlain = false;
      return this.#plain(words[0]?.text ?? "");
    }
    const [first, ...args] = words;
    const name = first?.kind === "atom" ? first.text.toUpperCase() : "";
    const texts = args.map((word) => word.text);
    switch (name) {
      case "CAPABILITY":
        return ok(this.#capabilities());
      case "NOOP":
        return { text: texts[0] === undefined ? 'OK "Done"\r\n' : `OK (TAG ${written(texts[0])}) "Done"\r\n` };
      case "LOGOUT":
        return { text: 'OK "Bye"\r\n', then: "close" };
      case "STARTTLS":
        return this.#startTls();
      case "AUTHENTICATE":
        return this.#authenticate(texts);
    }
    if (this.#user === undefined) return no("authenticate first");
    return this.#scripts(name, texts, this.#user);
  }

  #startTls(): Reply {
    if (this.#tls || !this.#canStartTls) return no("TLS is not available");
    return { text: 'OK "Begin TLS"\r\n', then: "starttls" };
  }

  #capabilities(): string {
    const sasl = this.#tls || this.#options.plainText ? "PLAIN" : "";
    const lines: Array<[string, string]> = [
      ["IMPLEMENTATION", "Postern"],
      ["SIEVE", registry.capabilities.join(" ")],
      ["SASL", sasl],
      ["NOTIFY", "mailto"],
      ["VERSION", "1.0"],
    ];
    if (this.#user !== undefined) lines.push(["OWNER", this.#user]);
    const text = lines.map(([name, value]) => `"${name}" ${written(value)}\r\n`).join("");
    return this.#canStartTls && !this.#tls ? `${text}"STARTTLS"\r\n` : text;
  }

  // ---- SASL PLAIN (RFC 4616)

  async #authenticate([mechanism = "", initial]: readonly string[]): Promise<Reply> {
    if (this.#user !== undefined) return no("already authenticated");
    if (!this.#tls && !this.#options.plainText) return { text: 'NO (ENCRYPT-NEEDED) "TLS is needed first"\r\n' };
    if (mechanism.toUpperCase() !== "PLAIN") return no("no such mechanism");
    if (initial !== undefined) return this.#plain(initial);
    this.#awaitingPlain = true;
    return { text: '""\r\n' };
  }

  async #plain(base64: string): Promise<Reply> {
    const [authorize, user, password] = Buffer.from(base64, "base64").toString("utf8").split("\0");
    const complete = base64 !== "*" && user && password && (authorize === "" || authorize === user);
    try {
      this.#user = complete ? await this.#options.authenticate(user, password) : undefined;
    } catch {
      // Too many at once, or a directory that does not answer: nobody's guess was wrong (§1.3).
      return { text: 'NO (TRYLATER) "Try again later"\r\n' };
    }
    if (this.#user !== undefined) {
      return { text: 'OK "Authenticated"\r\n' };
    }
    if (++this.#failures >= maxAuthFailures) return { text: 'BYE "Too many failures"\r\n', then: "close" };
    return no("authentication failed");
  }

  // ---- scripts

  async #scripts(command: string, args: readonly string[], user: string): Promise<Reply> {
    const { storage } = this.#options;
    const [first = "", second = ""] = args;
    const exists = async (name: string) => (await storage.get(user, name)) !== undefined;
    const active = async () => (await storage.list(user)).find((script) => script.active)?.name;
    switch (command) {
      case "LISTSCRIPTS": {
        const lines = (await storage.list(user)).map(
          ({ name, active }) => `${written(name)}${active ? " ACTIVE" : ""}\r\n`,
        );
        return ok(lines.join(""));
      }
      case "GETSCRIPT": {
        const text = await storage.get(user, first);
        return text === undefined ? absent() : ok(`{${Buffer.byteLength(text)}}\r\n${text}\r\n`);
      }
      case "HAVESPACE":
        return (await this.#space(user, first, Number(second))) ?? ok("");
      case "CHECKSCRIPT":
        return this.#check(first);
      case "PUTSCRIPT": {
        if (!isName(first)) return no("bad script name");
        const full = await this.#space(user, first, Buffer.byteLength(second));
        if (full) return full;
        const checked = this.#check(second);
        if (checked.text.startsWith("OK")) await storage.put(user, first, second);
        return checked;
      }
      case "SETACTIVE":
        if (first !== "" && !(await exists(first))) return absent();
        await storage.activate(user, first);
        return ok("");
      case "DELETESCRIPT":
        if (!(await exists(first))) return absent();
        if ((await active()) === first) return { text: 'NO (ACTIVE) "The script is active"\r\n' };
        await storage.delete(user, first);
        return ok("");
      case "RENAMESCRIPT":
        if (!(await exists(first))) return absent();
        if (!isName(second)) return no("bad script name");
        if (await exists(second)) return { text: 'NO (ALREADYEXISTS) "There is such a script"\r\n' };
        await storage.rename(user, first, second);
        return ok("");
      default:
        return no("unknown command");
    }
  }

  async #space(user: string, name: string, octets: number): Promise<Reply | undefined> {
    const { storage, scriptBytes = 64 * 1024, scripts = 32 } = this.#options;
    if (!(octets <= scriptBytes))
      return { text: `NO (QUOTA/MAXSIZE) "A script has at most ${scriptBytes} octets"\r\n` };
    const names = (await storage.list(user)).map((script) => script.name);
    if (names.length < scripts || names.includes(name)) return undefined;
    return { text: `NO (QUOTA/MAXSCRIPTS) "At most ${scripts} scripts"\r\n` };
  }

  /** §2.12: errors with their lines, or OK with warnings. Included scripts are looked for when the script runs. */
  #check(source: string): Reply {
    const compiled = compileSieve(source, {
      file: "script",
      settings: this.#options.settings ?? defaultSettings,
      includeLoader: () => "",
    });
    const text = compiled.diagnostics.map((d) => `line ${d.span.start.line}: ${d.severity}: ${d.message}`).join("\r\n");
    if (!compiled.ok) return { text: `NO ${written(text)}\r\n` };
    return { text: text === "" ? "OK\r\n" : `OK (WARNINGS) ${written(text)}\r\n` };
  }
}

/** §1.6: no control characters, no line or paragraph separators; no path either. */
function isName(name: string): boolean {
  return name !== "" && name.length <= 128 && !/[\x00-\x1f\x7f-\x9f\u2028\u2029/]/.test(name);
}

function ok(before: string): Reply {
  return { text: `${before}OK\r\n` };
}

function no(reason: string): Reply {
  return { text: `NO ${written(reason)}\r\n` };
}

function absent(): Reply {
  return { text: 'NO (NONEXISTENT) "There is no such script"\r\n' };
}
