/**
 * The surroundings of one run: answers what the program asks (src/language/host.ts) from the message, the envelope and
 * the settings, and collects actions. What each name means is declared by the extensions (registry.ts).
 * Invariants: no I/O; everything outside the process comes in with `SieveInput` or goes out in the result.
 * Failure: SieveRuntimeError ends the run; RangeError and BudgetExceeded of a limit do the same.
 */
import type { Budget } from "../config/budget.ts";
import type { Host } from "../language/host.ts";
import type { Data } from "../language/ir.ts";
import type { Span } from "../language/span.ts";
import { type Mailbox, mailboxesOf, parseAddresses } from "../message/addresses.ts";
import type { MimePart } from "../message/mime.ts";
import type { ParsedMessage } from "../message/parse.ts";
import { Mail, type MailField } from "./mail.ts";
import type { Arguments, Registry } from "./registry.ts";
import type { Result } from "./result.ts";
import type { SieveSettings } from "./settings.ts";

export interface SieveEnvelope {
  /** Reverse-path without brackets; "" is the null path. */
  from: string;
  /** The recipient at hand, after and before alias expansion. */
  to: string;
  originalTo?: string;
  auth?: string;
  /** RFC 6009: values of the envelope-dsn and envelope-deliverby parts, by part name. */
  parts?: Readonly<Record<string, string>>;
}

/** What a store can tell while a script runs; all answers from memory. */
export interface SieveMailboxes {
  exists(folder: string): boolean;
  /** RFC 8579: a mailbox (or any, when undefined) has the special-use attribute. */
  specialUse(folder: string | undefined, attribute: string): boolean;
  /** RFC 5490: value of an annotation; `folder` undefined asks for the server's. */
  metadata(folder: string | undefined, entry: string): string | undefined;
}

/** RFC 6134: lists that are kept outside of scripts; all answers from memory. */
export interface SieveLists {
  known(list: string): boolean;
  has(list: string, value: string): boolean;
  /** The first `limit` entries; undefined for a list that is unknown or can't be told out. */
  members?(list: string, limit: number): readonly string[] | undefined;
}

export interface SieveInput {
  message: Uint8Array | ParsedMessage;
  envelope: SieveEnvelope;
  /** Values for the environment test by item name: remote-ip, remote-host, domain… */
  environment?: Readonly<Record<string, string>>;
  /** RFC 5235 scores of our own scanners: spam in percent 0–100, virus 0–5. */
  scores?: { spam?: number; virus?: number };
  /** RFC 6134: named lists. */
  lists?: SieveLists;
  /** RFC 7352: a message with this key was seen before, within its period. */
  seen?: (key: string) => boolean;
  mailboxes?: SieveMailboxes;
  now?: Date;
}

/** What must be remembered once the result is committed. */
export interface Remembered {
  key: string;
  seconds: number;
}

/** A loop over MIME parts (RFC 5703 §3). */
interface PartLoop {
  parts: Iterator<MimePart>;
  current: MimePart | undefined;
}

const noMailboxes: SieveMailboxes = {
  exists: () => false,
  specialUse: () => false,
  metadata: () => undefined,
};

export class SieveHost implements Host {
  readonly registry: Registry;
  readonly budget: Budget;
  settings: SieveSettings;
  mail: Mail;
  envelope: SieveEnvelope;
  result: Result;
  readonly input: SieveInput;
  /** RFC 5232 §2: the internal variable. */
  flags: string[] = [];
  readonly remembered: Remembered[] = [];
  /** RFC 6609 §3.2: scripts included so far. */
  readonly included = new Set<string>();
  readonly notes: string[] = [];
  /** The message as a whole was exchanged for another (RFC 5703 §6, §7). */
  replaced = false;
  #matched: readonly string[] = [];
  readonly #loops: PartLoop[] = [];
  readonly #replacements = new Map<MimePart, Buffer>();
  #addresses = new Map<string, readonly Mailbox[]>();

  constructor(options: {
    registry: Registry;
    budget: Budget;
    settings: SieveSettings;
    input: SieveInput;
    result: Result;
  }) {
    this.registry = options.registry;
    this.budget = options.budget;
    this.settings = options.settings;
    this.input = options.input;
    this.envelope = options.input.envelope;
    this.result = options.result;
    this.mail = Mail.of(options.input.message, options.budget);
  }

  get now(): Date {
    return this.input.now ?? new Date();
  }

  get lists(): SieveInput["lists"] {
    return this.input.lists;
  }

  get mailboxes(): SieveMailboxes {
    return this.input.mailboxes ?? noMailboxes;
  }

  /** The part of the innermost loop, undefined outside one. */
  get part(): MimePart | undefined {
    return this.#loops.at(-1)?.current;
  }

  /** Mailboxes of one address field, parsed once. */
  addressesOf(field: MailField): readonly Mailbox[] {
    let list = this.#addresses.get(field.value);
    if (list === undefined) {
      list = mailboxesOf(parseAddresses(field.value));
      this.#addresses.set(field.value, list);
    }
    return list;
  }

  /** The message changed as a whole: what was derived from the old one is forgotten. */
  replaceMail(mail: Mail): void {
    this.replaced = true;
    this.mail = mail;
    this.#addresses = new Map();
  }

  /**
   * RFC 5703 §5: a part gets other octets. Replacements are made at the end of the run (`finish`), since a loop still
   * walks over the old structure.
   */
  replacePart(part: MimePart, bytes: Buffer): void {
    this.#replacements.set(part, bytes);
  }

  /** Makes the replacements of parts, last first so that offsets stay true. */
  finish(): void {
    const ordered = [...this.#replacements].sort(([a], [b]) => b.start - a.start);
    for (const [part, bytes] of ordered) this.replaceMail(this.mail.spliced(part.start, part.end, bytes));
    this.#replacements.clear();
  }

  /** The message for an action: as edited so far. */
  snapshot(): Mail {
    return this.mail;
  }

  matchVariable(index: number): string {
    return this.#matched[index] ?? "";
  }

  // ---- Host

  source(name: string, data: Data, args: readonly string[]): readonly string[] {
    return this.registry.source(name)(this, data, args);
  }

  value(name: string, data: Data | undefined, args: readonly string[]): string {
    return this.registry.value(name)(this, data ?? {}, args);
  }

  ask(name: string, data: Data, args: readonly string[]): boolean {
    return this.registry.ask(name)(this, data, args);
  }

  inList(list: string, value: string): boolean {
    return this.lists?.has(list, value) ?? false;
  }

  effect(kind: string, data: Data, args: readonly string[], span: Span): void {
    this.registry.effect(kind)(this, data, groupsOf(data, args), span);
  }

  /** Sieve has no asynchronous facts: what a script may need is gathered before it runs. */
  lookup(): undefined {
    return undefined;
  }

  exported(): void {}

  captured(groups: readonly string[]): void {
    this.#matched = groups;
  }

  eachBegin(): void {
    const around = this.part;
    const parts = around === undefined ? withNested(this.mail.root) : below(around);
    this.#loops.push({ parts, current: undefined });
  }

  eachNext(): boolean {
    const loop = this.#loops.at(-1)!;
    const next = loop.parts.next();
    loop.current = next.done ? undefined : next.value;
    return !next.done;
  }

  /** After a run that ended inside a loop. */
  leaveLoops(): void {
    this.#loops.length = 0;
  }

  eachEnd(): void {
    this.#loops.pop();
  }
}

/** The groups of Lowering.named. */
function groupsOf(data: Data, args: readonly string[]): Arguments {
  const places = (data.arguments ?? {}) as Record<string, [number, number]>;
  const groups: Record<string, readonly string[]> = {};
  for (const [name, [start, end]] of Object.entries(places)) groups[name] = args.slice(start, end);
  return groups;
}

/** RFC 5703 §3: every part depth first, the message itself first, messages in messages included. */
export function* withNested(part: MimePart): Generator<MimePart> {
  yield part;
  yield* below(part);
}

function* below(part: MimePart): Generator<MimePart> {
  for (const child of part.children) yield* withNested(child);
  if (part.nested !== undefined) yield* withNested(part.nested);
}
