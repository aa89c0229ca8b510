/**
 * Submission (RFC 6409 §8): completes the header of a message from a user's own program, and refuses a From that the
 * authenticated user may not write. A filter before the real sink.
 * Invariants: only the header section is held back, at most `headerLimit` octets (reception has its own, equal limit);
 * the body streams through. Failure: a forbidden From makes `end` answer 550 and aborts the sink at once.
 */
import { randomUUID } from "node:crypto";
import { mailboxesOf, parseAddresses } from "../../message/addresses.ts";
import type { Outcome } from "../../message/outcome.ts";
import type { MaybePromise, MessageSink } from "./hooks.ts";
import { refusal } from "./protocol.ts";

export interface SubmissionRules {
  user: string;
  hostName: string;
  mailFrom: string;
  maySendAs: (user: string, address: string) => boolean;
  headerLimit: number;
  now?: () => Date;
}

const headerEnd = Buffer.from("\r\n\r\n");
const noPieces = Buffer.alloc(0);

/** RFC 5322 §3.3 date-time in the server's zone. */
export function dateField(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  const zone = `${minutes < 0 ? "-" : "+"}${pad(Math.trunc(Math.abs(minutes) / 60))}${pad(Math.abs(minutes) % 60)}`;
  const [day, month, dom, year, time] = date.toString().split(" ");
  return `${day}, ${Number(dom)} ${month} ${year} ${time} ${zone}`;
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}

/** RFC 5322 §2.2, and §4.5.8: blanks before the colon are obsolete, and read by mail programs all the same. */
const fieldLine = /^([\x21-\x39\x3b-\x7e]+)[ \t]*:(.*)$/s;

/** Unfolded values of a field, first to last. */
function fieldValues(header: string, name: string): string[] {
  const values: string[] = [];
  for (const line of header.replace(/\r\n(?=[ \t])/g, "").split("\r\n")) {
    const field = fieldLine.exec(line);
    if (field && field[1]!.toLowerCase() === name.toLowerCase()) values.push(field[2]!);
  }
  return values;
}

/**
 * All addresses that some reader may take for the author's: those of the list by RFC 5322 §3.4, and whatever else stands
 * in angle brackets outside of quoted strings and comments. "" stands for an author without an address.
 */
function fromAddresses(value: string): string[] {
  const text = Buffer.from(value, "latin1").toString();
  const listed = mailboxesOf(parseAddresses(text)).map(({ address }) => address);
  const bare = text.replace(/"(?:[^"\\]|\\.)*"(?!@)/g, "").replace(/\([^()]*\)/g, "");
  const bracketed = [...bare.matchAll(/<([^<>]*)>/g)].map((match) => match[1]!.trim());
  return listed.length === 0 ? [""] : [...new Set([...listed, ...bracketed])];
}

export class SubmissionSink implements MessageSink {
  private readonly sink: MessageSink;
  private readonly rules: SubmissionRules;
  private held: Buffer | undefined = noPieces;
  private refused: Outcome | undefined;

  constructor(sink: MessageSink, rules: SubmissionRules) {
    this.sink = sink;
    this.rules = rules;
  }

  write(chunk: Uint8Array): Promise<void> | undefined {
    if (this.refused) return undefined;
    if (this.held === undefined) return this.sink.write(chunk);
    const from = Math.max(0, this.held.length - headerEnd.length + 1);
    this.held = Buffer.concat([this.held, chunk]);
    const noHeader = this.held.length >= 2 && this.held[0] === 0x0d && this.held[1] === 0x0a;
    const end = noHeader ? 0 : this.held.indexOf(headerEnd, from);
    if (end < 0 && this.held.length < this.rules.headerLimit) return undefined;
    return this.passHeader(noHeader ? 0 : end < 0 ? this.held.length : end + 2);
  }

  /** `length` octets of `held` are the header fields; the rest, empty line first, is body. */
  private passHeader(length: number): Promise<void> | undefined {
    const held = this.held!;
    const header = held.toString("latin1", 0, length);
    this.held = undefined;
    const refused = this.judge(header);
    if (refused) {
      this.refused = refused;
      this.sink.abort();
      return undefined;
    }
    const added = this.missingFields(header);
    return this.sink.write(added === "" ? held : Buffer.concat([Buffer.from(added), held]));
  }

  private judge(header: string): Outcome | undefined {
    for (const value of fieldValues(header, "From")) {
      for (const address of fromAddresses(value)) {
        if (!this.rules.maySendAs(this.rules.user, address)) {
          return refusal(550, "5.7.1", "The address in From is not yours to use");
        }
      }
    }
    return undefined;
  }

  /** RFC 6409 §8.1 to §8.3: From, Sender, Date and Message-ID when the program left them out. */
  private missingFields(header: string): string {
    const has = (name: string): boolean => fieldValues(header, name).length > 0;
    const sender = `<${this.rules.mailFrom === "" ? this.rules.user : this.rules.mailFrom}>`;
    const authors = fieldValues(header, "From");
    let added = "";
    if (authors.length === 0) added += `From: ${sender}\r\n`;
    // RFC 5322 §3.6.2: several authors need a Sender.
    else if (authors.flatMap(fromAddresses).length > 1 && !has("Sender")) added += `Sender: ${sender}\r\n`;
    if (!has("Date")) added += `Date: ${dateField((this.rules.now ?? (() => new Date()))())}\r\n`;
    if (!has("Message-ID")) added += `Message-ID: <${randomUUID()}@${this.rules.hostName}>\r\n`;
    return added;
  }

  end(): MaybePromise<Outcome> {
    if (this.held !== undefined) {
      const wait = this.passHeader(this.held.length);
      if (wait) return wait.then(() => this.refused ?? this.sink.end());
    }
    return this.refused ?? this.sink.end();
  }

  abort(): void {
    if (!this.refused) this.sink.abort();
  }
}
