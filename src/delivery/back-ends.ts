/**
 * A front-end node asks the back ends that user maps name while the client waits: whether one takes a recipient, and
 * whether a user's password is good there (smtpfilters.md §12.2).
 * Invariants: only final answers are kept, at most `backEndAnswers` of them and for minutes; passwords never are.
 * Failure: a recipient whose back end can't be asked is not refused, its mail waits in the queue; a password that can't
 * be checked is answered 454.
 */
import type { Budget } from "../config/budget.ts";
import type { AuthVerdict, Credentials } from "../directory/types.ts";
import { type Outcome, outcome } from "../message/outcome.ts";
import type { SmtpConnection, Timeouts } from "../smtp/outgoing/client.ts";
import { SmtpError } from "../smtp/outgoing/error.ts";
import { rcptCommand } from "../smtp/outgoing/parameters.ts";
import { replyOutcome } from "../smtp/outgoing/reply.ts";
import type { NextHop } from "./types.ts";

export interface BackEndsOptions {
  /** The hop that user maps give an address; undefined when no map has it. */
  hopOf(address: string): NextHop | undefined | Promise<NextHop | undefined>;
  open(hop: NextHop, timeouts: Partial<Timeouts>): Promise<SmtpConnection>;
  budget: Pick<Budget, "backEndAnswers">;
  now?: () => number;
}

/** A client waits for these answers. */
const timeouts: Partial<Timeouts> = { connect: 5_000, greeting: 10_000, command: 10_000 };
const goodMs = 300_000;
const badMs = 60_000;
const refusedLogIn: AuthVerdict = { ok: false, user: "" };

interface Answer {
  refusal: Outcome | undefined;
  until: number;
}

export class BackEnds {
  readonly #options: BackEndsOptions;
  readonly #now: () => number;
  /** By address in lower case, oldest first. */
  readonly #answers = new Map<string, Answer>();

  constructor(options: BackEndsOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** The back end's refusal of a recipient; undefined when it takes it, or can't be asked. */
  async refusal(address: string): Promise<Outcome | undefined> {
    const key = address.toLowerCase();
    const known = this.#answers.get(key);
    if (known && known.until > this.#now()) return known.refusal;
    this.#answers.delete(key);
    const hop = await this.#options.hopOf(address);
    if (hop === undefined) return undefined;
    let answer: Outcome;
    try {
      answer = await this.#ask(hop, address);
    } catch (error) {
      if (error instanceof SmtpError) return undefined;
      throw error;
    }
    if (answer.temporary) return undefined;
    const refusal = answer.code >= 500 ? answer : undefined;
    if (this.#answers.size >= this.#options.budget.backEndAnswers) {
      this.#answers.delete(this.#answers.keys().next().value!);
    }
    this.#answers.set(key, { refusal, until: this.#now() + (refusal ? badMs : goodMs) });
    return refusal;
  }

  /** Logs in at the user's back end with what the user said; only with a password, which a challenge never shows. */
  async authenticate({ username, password, authzid }: Credentials): Promise<AuthVerdict & { outcome?: Outcome }> {
    const hop = await this.#options.hopOf(username);
    if (hop === undefined || password === undefined || password === "") return refusedLogIn;
    const user = username.toLowerCase();
    if (authzid !== "" && authzid.toLowerCase() !== user) return refusedLogIn;
    try {
      const connection = await this.#options.open({ ...hop, authUser: username, authPass: password }, timeouts);
      connection.quit();
      return { ok: true, user };
    } catch (error) {
      // RFC 4954 §6: 535, the credentials are wrong; 5xx others that they are of no use.
      if (!(error instanceof SmtpError)) throw error;
      if (error.stage === "auth" && error.replyCode >= 500) return refusedLogIn;
      const text = "The password can't be checked now";
      return { ...refusedLogIn, outcome: outcome.defer({ code: 454, enhanced: "4.7.0", text, origin: "engine" }) };
    }
  }

  /** RFC 5321 §3.3: a transaction that ends before DATA. */
  async #ask(hop: NextHop, address: string): Promise<Outcome> {
    const connection = await this.#options.open(hop, timeouts);
    try {
      const { extensions } = connection;
      const rcptTo = rcptCommand({ address }, { extensions, lmtp: hop.kind === "lmtp", tlsVerified: false });
      if (typeof rcptTo !== "string") return rcptTo;
      const [mail] = await connection.exchange("MAIL FROM:<>\r\n", 1, timeouts.command!);
      const sender = replyOutcome(mail!, connection.origin);
      // A host that does not take the null sender says nothing of the recipient.
      if (sender.code >= 300)
        return outcome.defer({ code: 451, enhanced: "4.3.0", text: sender.text, origin: sender.origin });
      const [rcpt] = await connection.exchange(`${rcptTo}\r\n`, 1, timeouts.command!);
      return replyOutcome(rcpt!, connection.origin);
    } finally {
      connection.quit();
    }
  }
}
