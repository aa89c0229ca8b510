/**
 * Client of Postfix's policy delegation protocol (SMTPD_POLICY_README): attributes out, one action back, connection
 * kept. Speaks to postgrey, policyd-spf and the like.
 * Invariants: attribute values hold no line break or NUL. Failure: ScannerError.
 */
import type { Budget } from "../config/budget.ts";
import { type Outcome, outcome, printable } from "../message/outcome.ts";
import { ConnectionPool } from "./pool.ts";
import type { SocketAddress } from "./stream.ts";
import { ScannerError } from "./types.ts";

/** Attribute names as Postfix writes them: protocol_state, client_address, sender, recipient, instance… */
export type PolicyAttributes = Readonly<Record<string, string>>;

export type PolicyAction =
  | { kind: "none" }
  | { kind: "ok" }
  | { kind: "reply"; outcome: Outcome }
  | { kind: "prepend"; name: string; value: string }
  | { kind: "discard" | "hold"; text: string }
  | { kind: "redirect"; address: string };

const maxReplyLines = 100;

export class PolicyDelegation {
  readonly #timeoutMs: number;
  readonly #budget: Pick<Budget, "scannerLine">;
  readonly #pool: ConnectionPool;
  readonly #origin: string;

  constructor(name: string, address: SocketAddress, timeoutMs: number, budget: Pick<Budget, "scannerLine">) {
    this.#origin = `policy service ${name}`;
    this.#timeoutMs = timeoutMs;
    this.#budget = budget;
    this.#pool = new ConnectionPool(address, timeoutMs);
  }

  async ask(attributes: PolicyAttributes): Promise<PolicyAction> {
    const lines = ["request=smtpd_access_policy"];
    for (const [name, value] of Object.entries(attributes)) lines.push(`${name}=${printable(value)}`);
    const action = await this.#pool.use(async (socket) => {
      await socket.write(Buffer.from(`${lines.join("\n")}\n\n`), this.#timeoutMs);
      let answer = "";
      for (let count = 0; ; count++) {
        const line = await socket.readLine(this.#budget.scannerLine, this.#timeoutMs);
        if (line === "") break;
        if (count >= maxReplyLines) throw new ScannerError("limit", "policy service: too many lines");
        if (line.startsWith("action=")) answer = line.slice(7).trim();
      }
      return { value: answer, keep: true };
    });
    if (action === "") throw new ScannerError("protocol", "policy service: reply without an action");
    return interpret(action, this.#origin);
  }

  close(): void {
    this.#pool.close();
  }
}

/** Reads an access(5) action. Actions that change nothing here (WARN, INFO, FILTER) are "none". */
export function interpret(action: string, origin: string): PolicyAction {
  const [, word = "", rest = ""] = /^(\S+)\s*(.*)$/s.exec(action) ?? [];
  const reply = (code: number, enhanced: string, fallback: string): PolicyAction => {
    const given = /^([245]\.\d{1,3}\.\d{1,3})\s+(.*)$/s.exec(rest);
    const text = printable(given?.[2] ?? rest).trim() || fallback;
    return { kind: "reply", outcome: outcome.of({ code, enhanced: given?.[1] ?? enhanced, text, origin }) };
  };
  const upper = word.toUpperCase();
  if (/^[45]\d\d$/.test(word)) return reply(Number(word), `${word[0]}.7.1`, "Access denied");
  switch (upper) {
    case "OK":
    case "PERMIT":
      return { kind: "ok" };
    case "REJECT":
      return reply(554, "5.7.1", "Access denied");
    case "DEFER":
    case "DEFER_IF_PERMIT":
      return reply(450, "4.7.1", "Service unavailable - try again later");
    case "PREPEND": {
      const field = /^([\x21-\x39\x3b-\x7e]+):\s*(.*)$/s.exec(rest);
      if (field === null) throw new ScannerError("protocol", "policy service: PREPEND without a field");
      return { kind: "prepend", name: field[1]!, value: printable(field[2]!) };
    }
    case "DISCARD":
    case "HOLD":
      return { kind: upper === "HOLD" ? "hold" : "discard", text: printable(rest) };
    case "REDIRECT":
      return { kind: "redirect", address: printable(rest).trim() };
    default:
      return { kind: "none" };
  }
}
