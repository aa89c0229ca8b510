/**
 * Delivery of local recipients into the store: folder by Sieve's or policy's word, by subaddress, else INBOX.
 * Invariants: one `store.deliver` for all recipients of a message, so a body is stored once; plain addresses are
 * compared in lower case. Failure: a StoreError's outcome for each recipient; nothing is half delivered, because the
 * store commits all targets together.
 */
import { domainOf, localPartOf } from "../message/envelope.ts";
import { type Outcome, outcome, printable } from "../message/outcome.ts";
import type { BodySource, QueuedMessage, QueuedRecipient } from "../queue/types.ts";
import { type MessageMeta, type Store, type StoreDelivery, StoreError } from "../store/types.ts";

/** What processing decided for a recipient; `marks.deliveries` of the message holds these. */
export interface DeliveryMark {
  /** Recipient address; absent = every local recipient. */
  recipient?: string;
  folder: string;
  flags: readonly string[];
  /** RFC 6154 attribute for a folder that is made by this delivery. */
  specialUse?: string;
}

export interface LocalSettings {
  store: Store;
  /** Separates the user from the detail (RFC 5233), usually "+"; "" = no subaddresses. */
  delimiter: string;
  /** Whether a detail names a folder; when false mail for user+detail goes to the INBOX. */
  subaddressFolders: boolean;
  /** Mail for a full mailbox waits, or goes back at once. */
  overQuota: "defer" | "reject";
}

type Content = Uint8Array | AsyncIterable<Uint8Array>;

const stored: Outcome = outcome.accept({
  code: 250,
  enhanced: "2.1.5",
  text: "delivered to the mailbox",
  origin: "store",
});

/** Account and detail of an address: "Ann+lists@Example.org" → ann@example.org, "lists". */
export function splitSubaddress(address: string, delimiter: string): { account: string; detail: string } {
  const local = localPartOf(address).toLowerCase();
  const at = delimiter === "" ? -1 : local.indexOf(delimiter);
  const user = at > 0 ? local.slice(0, at) : local;
  return { account: `${user}@${domainOf(address)}`, detail: at > 0 ? local.slice(at + delimiter.length) : "" };
}

/** A detail as folder name: no hierarchy, no control bytes, at most 64 characters; "" when nothing is left. */
function folderOf(detail: string): string {
  return detail
    .replace(/[\x00-\x1f\x7f/\\%*]/g, "")
    .replace(/^\.+/, "")
    .slice(0, 64);
}

export class LocalDelivery {
  readonly #settings: LocalSettings;

  constructor(settings: LocalSettings) {
    this.#settings = settings;
  }

  async deliver(
    message: QueuedMessage,
    recipients: readonly QueuedRecipient[],
    body: BodySource,
  ): Promise<Array<{ recipient: QueuedRecipient; outcome: Outcome }>> {
    const meta = await metaOf(message, body);
    const final = (): Content => withReturnPath(body, message.envelope.mailFrom);
    const targets = recipients.flatMap((recipient) => this.#targets(message, recipient));
    const together = await this.#commit(recipients, final, meta, targets);
    if (recipients.length === 1 || together[0]!.outcome.code < 400) return together;
    // One mailbox over quota must not keep the others from their mail.
    const each: Array<{ recipient: QueuedRecipient; outcome: Outcome }> = [];
    for (const recipient of recipients) {
      each.push(...(await this.#commit([recipient], final, meta, this.#targets(message, recipient))));
    }
    return each;
  }

  async #commit(
    recipients: readonly QueuedRecipient[],
    content: () => Content,
    meta: MessageMeta,
    targets: StoreDelivery[],
  ): Promise<Array<{ recipient: QueuedRecipient; outcome: Outcome }>> {
    try {
      await this.#settings.store.deliver(content(), meta, targets);
      return recipients.map((recipient) => ({ recipient, outcome: stored }));
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      const said = this.#settings.overQuota === "reject" ? whenFull(error.outcome) : error.outcome;
      return recipients.map((recipient) => ({ recipient, outcome: said }));
    }
  }

  #targets(message: QueuedMessage, recipient: QueuedRecipient): StoreDelivery[] {
    const { delimiter, subaddressFolders } = this.#settings;
    const { account, detail } = splitSubaddress(recipient.address, delimiter);
    const marks = deliveryMarks(message).filter(
      (mark) => !mark.recipient || sameAddress(mark.recipient, recipient.address),
    );
    if (marks.length > 0) return marks.map(({ recipient: _whose, ...target }) => ({ account, ...target }));
    const folder = (subaddressFolders && folderOf(detail)) || "INBOX";
    return [{ account, folder, flags: [] }];
  }
}

/** RFC 5321 §4.4: final delivery writes the reverse-path at the top of the message. */
function withReturnPath(body: BodySource, mailFrom: string): Content {
  const line = Buffer.from(`Return-Path: <${printable(mailFrom)}>\r\n`);
  const whole = body.inMemory();
  return whole === undefined ? streamAfter(line, body) : Buffer.concat([line, whole]);
}

async function* streamAfter(line: Buffer, body: BodySource): AsyncGenerator<Uint8Array> {
  yield line;
  yield* body.stream();
}

/** The refusal of a full mailbox made final: 552 5.2.2 (RFC 5321 §4.2.3). Other troubles of the store stay temporary. */
function whenFull(said: Outcome): Outcome {
  if (said.enhanced !== "4.2.2") return said;
  return outcome.reject({ code: 552, enhanced: "5.2.2", text: said.text, origin: said.origin });
}

function sameAddress(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}

/** The marks processing left, read carefully: they crossed the queue as JSON. */
function deliveryMarks(message: QueuedMessage): DeliveryMark[] {
  const given = message.marks.deliveries;
  if (!Array.isArray(given)) return [];
  return given.filter((mark): mark is DeliveryMark => typeof mark?.folder === "string" && Array.isArray(mark.flags));
}

/** Subject and From for mailbox lists, from the first 64 KiB. */
export async function summary(body: BodySource): Promise<{ subject: string; from: string }> {
  const head = await headOf(body);
  return { subject: field(head, "subject"), from: field(head, "from") };
}

const headLimit = 64 * 1024;

/** What the store keeps of a message beside its body. */
async function metaOf(message: QueuedMessage, body: BodySource): Promise<MessageMeta> {
  const { mailFrom } = message.envelope;
  return { queueId: message.id, mailFrom, receivedAt: message.receivedAt, ...(await summary(body)) };
}

async function headOf(body: BodySource): Promise<string> {
  const memory = body.inMemory();
  if (memory)
    return Buffer.from(memory.buffer, memory.byteOffset, Math.min(memory.length, headLimit)).toString("latin1");
  for await (const chunk of body.stream()) return Buffer.from(chunk.subarray(0, headLimit)).toString("latin1");
  return "";
}

function field(head: string, name: string): string {
  const end = head.search(/\r?\n\r?\n/);
  const headers = end < 0 ? head : head.slice(0, end);
  const found = new RegExp(`^${name}[ \\t]*:(.*(?:\\r?\\n[ \\t].*)*)`, "im").exec(headers);
  return printable((found?.[1] ?? "").replace(/\r?\n[ \t]/g, " "))
    .trim()
    .slice(0, 998);
}
