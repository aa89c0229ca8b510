/**
 * Applies what a milter asked for to a message, by the index rules of Sendmail as Postfix follows them.
 * Invariants: the fields that the gateway itself put on top are invisible to filters and are never changed by them;
 * actions that were not negotiated are a protocol error. Failure: ScannerError "protocol"; BudgetExceeded from the
 * header editor.
 */

import type { Budget } from "../../config/budget.ts";
import { HeaderEditor } from "../../message/edit.ts";
import { type HeaderSection, parseHeaders } from "../../message/headers.ts";
import { ScannerError } from "../types.ts";
import { Action, type Modification, type Negotiation, Step } from "./codec.ts";
import type { MilterContent } from "./session.ts";

type EditBudget = Pick<Budget, "headerSection" | "headerFields" | "headerEdits">;

export interface EnvelopeChanges {
  mailFrom?: string;
  /** `args`: ESMTP parameters the filter gave, "" when none. */
  added: Array<{ address: string; args: string }>;
  deleted: string[];
  /** Reason, "" when no filter asked for quarantine. */
  quarantine: string;
}

/** A message on its way through several milters. */
export class MilterMessage {
  readonly envelope: EnvelopeChanges = { added: [], deleted: [], quarantine: "" };
  readonly #budget: EditBudget;
  readonly #editor: HeaderEditor;
  readonly #original: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  /** Fields above the gateway's own (inserted at index 0), and the gateway's own. */
  #above = 0;
  readonly #own: number;
  #body: Buffer | undefined;

  /** `header`: section with its blank line, `ownFields` of it ours; `body`: octets after it, may be read again. */
  constructor(
    header: Uint8Array,
    ownFields: number,
    body: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    budget: EditBudget,
  ) {
    this.#editor = new HeaderEditor(header, budget);
    this.#own = Math.min(ownFields, this.#editor.count);
    this.#original = body;
    this.#budget = budget;
  }

  get header(): Buffer {
    return this.#editor.toBytes();
  }

  get headerChanged(): boolean {
    return this.#editor.changed;
  }

  /** The new body, undefined while it is the original one. */
  get replacedBody(): Buffer | undefined {
    return this.#body;
  }

  /** What the next filter sees. */
  content(): MilterContent {
    const header = this.header;
    const section: HeaderSection = parseHeaders(header, this.#budget);
    const fields = section.fields
      .filter((_, index) => index < this.#above || index >= this.#above + this.#own)
      .map((field) => ({
        name: Buffer.from(field.name, "latin1"),
        value: lineFeeds(header, field.valueStart, field.end),
      }));
    const body = this.#body;
    return { fields, body: body === undefined ? this.#original : () => [body] };
  }

  apply(modifications: readonly Modification[], negotiation: Negotiation): void {
    const chunks: Buffer[] = [];
    for (const change of modifications) {
      if ((negotiation.actions & requiredAction(change)) === 0) {
        throw new ScannerError("protocol", `milter: ${change.kind} was not negotiated`);
      }
      if (change.kind === "replaceBody") chunks.push(change.chunk);
      else this.#apply(change, negotiation);
    }
    if (chunks.length > 0) this.#body = Buffer.concat(chunks);
  }

  #apply(change: Exclude<Modification, { kind: "replaceBody" }>, negotiation: Negotiation): void {
    switch (change.kind) {
      case "addHeader":
        this.#editor.insert(this.#editor.count, change.name, spaced(change.value, negotiation), true);
        break;
      case "insertHeader":
        this.#insert(change.index, change.name, spaced(change.value, negotiation));
        break;
      case "changeHeader":
        this.#change(change.index, change.name, change.value, negotiation);
        break;
      case "addRecipient":
        this.envelope.added.push({ address: change.address, args: change.args });
        break;
      case "deleteRecipient":
        this.envelope.deleted.push(change.address);
        break;
      case "changeFrom":
        this.envelope.mailFrom = change.address;
        break;
      case "quarantine":
        this.envelope.quarantine ||= change.reason || "quarantined";
        break;
    }
  }

  /**
   * Index 0 is above everything, N above the Nth field of the message, beyond the last the bottom. Fields inserted
   * above ours take part in the count, as they do in Postfix.
   */
  #insert(index: number, name: string, value: string): void {
    const position = index === 0 ? 0 : Math.min(this.#editor.count, index - 1 + this.#own);
    this.#editor.insert(position, name, value, true);
    if (position <= this.#above) this.#above++;
  }

  /** The Nth visible field of that name; an empty value removes it, a missing field is added at the bottom. */
  #change(index: number, name: string, value: string, negotiation: Negotiation): void {
    const visible = (at: number) => at < this.#above || at >= this.#above + this.#own;
    const position = this.#editor.positions(name).filter(visible)[Math.max(index, 1) - 1];
    const text = value === "" ? undefined : spaced(value, negotiation);
    if (position !== undefined) {
      this.#editor.replace(position, name, text, true);
      if (text === undefined && position < this.#above) this.#above--;
    } else if (text !== undefined) this.#editor.insert(this.#editor.count, name, text, true);
  }
}

/** Without SMFIP_HDR_LEADSPC the MTA writes the blank after the colon. */
function spaced(value: string, negotiation: Negotiation): string {
  return (negotiation.steps & Step.headerLeadingSpace) !== 0 ? value : ` ${value}`;
}

function requiredAction(change: Modification): number {
  switch (change.kind) {
    case "addHeader":
      return Action.addHeaders;
    case "insertHeader":
      return Action.addHeaders;
    case "changeHeader":
      return Action.changeHeaders;
    case "addRecipient":
      return change.args === "" ? Action.addRecipient | Action.addRecipientArgs : Action.addRecipientArgs;
    case "deleteRecipient":
      return Action.deleteRecipient;
    case "changeFrom":
      return Action.changeFrom;
    case "quarantine":
      return Action.quarantine;
    case "replaceBody":
      return Action.changeBody;
  }
}

/** Value octets without CR: filters see LF between the lines of a folded field. */
function lineFeeds(header: Buffer, from: number, end: number): Buffer {
  const text = header.toString("latin1", from, end).replace(/\r?\n$/, "");
  return Buffer.from(text.replace(/\r\n/g, "\n"), "latin1");
}
