/**
 * Several milters in order over one SMTP session or one queued message.
 * Invariants: each filter sees the message as the ones before it left it; the first refusal decides and the others are
 * told to abort; a failed filter's declared action applies for the rest of the session.
 * Failure: none for modes accept, reject and tempfail; ScannerError passes through for "wait" when a queued message is
 * played (`waitMode`).
 */
import { type Budget, BudgetExceeded } from "../../config/budget.ts";
import { type Outcome, outcome } from "../../message/outcome.ts";
import { ScannerError } from "../types.ts";
import { type EnvelopeChanges, MilterMessage } from "./edits.ts";
import type { MilterClient } from "./link.ts";
import type { MacroSource } from "./macros.ts";
import { type MilterAnswer, type MilterPeer, MilterSession } from "./session.ts";

export interface ChainAnswer {
  /** 4xx or 5xx when a filter refused. */
  outcome?: Outcome;
  /** The client's connection is to be closed after the reply. */
  close?: boolean;
}

export interface ChainResult extends ChainAnswer {
  discard: boolean;
  /** New header section, undefined when no filter changed it. */
  header?: Buffer;
  /** New body, undefined when no filter replaced it. */
  body?: Buffer;
  envelope: EnvelopeChanges;
}

type ChainBudget = Pick<Budget, "headerSection" | "headerFields" | "headerEdits">;

interface Member {
  client: MilterClient;
  session: MilterSession;
  alive: boolean;
  /** Answer to every later command of the session after a failure that does not let mail pass. */
  failed?: Outcome;
}

export class MilterChain {
  readonly #members: Member[];
  readonly #budget: ChainBudget;
  readonly #waitMode: boolean;
  #discard = false;

  constructor(clients: readonly MilterClient[], macros: MacroSource, budget: ChainBudget, waitMode = false) {
    this.#members = clients.map((client) => ({ client, session: new MilterSession(client, macros), alive: true }));
    this.#budget = budget;
    this.#waitMode = waitMode;
  }

  connect(peer: MilterPeer): Promise<ChainAnswer> {
    return this.#each("connect", (session) => session.connect(peer));
  }

  helo(name: string): Promise<ChainAnswer> {
    return this.#each("ehlo", (session) => session.helo(name));
  }

  mail(from: string, args: readonly string[] = []): Promise<ChainAnswer> {
    this.#discard = false;
    return this.#each("mail", (session) => session.mail(from, args));
  }

  rcpt(to: string, args: readonly string[] = []): Promise<ChainAnswer> {
    return this.#each("rcpt", (session) => session.rcpt(to, args));
  }

  data(): Promise<ChainAnswer> {
    return this.#each("data", (session) => session.data());
  }

  /**
   * The whole message. `header` is its section with the blank line, the top `ownFields` of it the gateway's own;
   * `body` is read once by each filter that wants it.
   */
  async message(
    header: Uint8Array,
    ownFields: number,
    body: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<ChainResult> {
    const message = new MilterMessage(header, ownFields, body, this.#budget);
    let answer: ChainAnswer = {};
    if (!this.#discard) {
      answer = await this.#each("header", async (session) => {
        const result = await session.message(message.content());
        if (result.modifications.length > 0) message.apply(result.modifications, session.negotiation);
        return result.answer;
      });
    }
    return {
      ...answer,
      discard: this.#discard,
      ...(message.headerChanged ? { header: message.header } : {}),
      ...(message.replacedBody === undefined ? {} : { body: message.replacedBody }),
      envelope: message.envelope,
    };
  }

  async abort(): Promise<void> {
    await this.#each("abort", (session) => session.abort());
  }

  async close(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.session.close()));
  }

  async #each(stage: string, call: (session: MilterSession) => Promise<MilterAnswer>): Promise<ChainAnswer> {
    for (const member of this.#members) {
      if (member.failed !== undefined) return { outcome: member.failed };
      if (!member.alive) continue;
      let answer: MilterAnswer;
      try {
        answer = await call(member.session);
      } catch (error) {
        member.alive = false;
        await member.session.close();
        const failed = this.#failed(member.client, stage, error);
        if (failed === undefined) continue;
        member.failed = failed;
        return { outcome: failed };
      }
      if (answer.kind === "discard") {
        this.#discard = true;
        return {};
      }
      if (answer.kind === "shutdown") return { outcome: answer.outcome, close: true };
      if (answer.kind === "reply") return { outcome: answer.outcome };
    }
    return {};
  }

  /** The declared meaning of a failure (texts as smtpfilters.md §7.3); undefined lets the mail pass. */
  #failed(client: MilterClient, stage: string, error: unknown): Outcome | undefined {
    if (!(error instanceof ScannerError || error instanceof BudgetExceeded)) throw error;
    const { failure, name } = client.settings;
    if (failure === "accept") return undefined;
    if (failure === "wait" && this.#waitMode) throw error;
    const text = `Error sending ${stage} package`;
    const origin = `milter ${name}`;
    return failure === "reject"
      ? outcome.reject({ code: 550, enhanced: "5.7.1", text, origin })
      : outcome.defer({ code: 450, enhanced: "4.7.1", text, origin });
  }
}
