/**
 * One connection to a milter: framing, negotiation and reuse.
 * Invariants: packets are sent in order, together when no answer stands between them; an idle link has nothing unread.
 * Failure: ScannerError; after one the link is closed and never reused.
 */
import type { Budget } from "../../config/budget.ts";
import { ScannerSocket, type SocketAddress } from "../stream.ts";
import { ScannerError } from "../types.ts";
import { Command, decodeNegotiation, type Negotiation, negotiatePacket, packet } from "./codec.ts";

export interface MilterSettings {
  name: string;
  address: SocketAddress;
  /** What a failure of this filter means for mail; "wait" is "tempfail" while the client is connected. */
  failure: "accept" | "reject" | "tempfail" | "wait";
  /** Time-outs by stage, ms: to connect and negotiate; for an answer to a command; for an answer to content. */
  connectMs: number;
  commandMs: number;
  contentMs: number;
  /**
   * Idle connections kept for later sessions by QUIT_NC. Off (0) by default: libmilter knows it, but filters that set up
   * their state in the negotiation (pymilter) break on it. Messages of one session always share a connection.
   */
  keepIdle: number;
}

export function milterSettings(
  given: Pick<MilterSettings, "name" | "address"> & Partial<MilterSettings>,
): MilterSettings {
  return { failure: "tempfail", connectMs: 30_000, commandMs: 30_000, contentMs: 300_000, keepIdle: 0, ...given };
}

export type MilterBudget = Pick<
  Budget,
  "milterPacket" | "milterActions" | "milterMessageMs" | "scannerReply" | "headerSection" | "headerFields"
>;

const flushSize = 64 * 1024;

export class MilterLink {
  readonly negotiation: Negotiation;
  readonly #socket: ScannerSocket;
  readonly #budget: MilterBudget;
  #unsent: Buffer[] = [];
  #unsentSize = 0;

  private constructor(socket: ScannerSocket, negotiation: Negotiation, budget: MilterBudget) {
    this.#socket = socket;
    this.#budget = budget;
    this.negotiation = negotiation;
  }

  static async open(settings: MilterSettings, budget: MilterBudget): Promise<MilterLink> {
    const socket = await ScannerSocket.connect(settings.address, settings.connectMs);
    return new MilterLink(socket, await negotiate(socket, budget, settings.connectMs), budget);
  }

  get reusable(): boolean {
    return this.#socket.reusable;
  }

  /** Queues a packet; what is queued goes out before the next answer is read, or when much has gathered. */
  async send(bytes: Buffer, timeoutMs: number): Promise<void> {
    this.#unsent.push(bytes);
    this.#unsentSize += bytes.length;
    if (this.#unsentSize >= flushSize) await this.flush(timeoutMs);
  }

  async flush(timeoutMs: number): Promise<void> {
    if (this.#unsent.length === 0) return;
    const bytes = Buffer.concat(this.#unsent);
    this.#unsent = [];
    this.#unsentSize = 0;
    await this.#socket.write(bytes, timeoutMs);
  }

  async receive(timeoutMs: number): Promise<{ command: string; data: Buffer }> {
    await this.flush(timeoutMs);
    return readPacket(this.#socket, this.#budget.milterPacket, timeoutMs);
  }

  /** Says goodbye and closes. */
  async quit(timeoutMs: number): Promise<void> {
    try {
      await this.send(packet(Command.quit), timeoutMs);
      await this.flush(timeoutMs);
    } catch {
      // the filter has gone already, which is what was asked for
    }
    this.#socket.endWriting();
    this.#socket.close();
  }

  close(): void {
    this.#socket.close();
  }
}

async function negotiate(socket: ScannerSocket, budget: MilterBudget, timeoutMs: number): Promise<Negotiation> {
  try {
    await socket.write(negotiatePacket(), timeoutMs);
    const { command, data } = await readPacket(socket, budget.milterPacket, timeoutMs);
    return decodeNegotiation(command, data);
  } catch (error) {
    socket.close();
    throw error;
  }
}

async function readPacket(socket: ScannerSocket, limit: number, timeoutMs: number) {
  const size = (await socket.readExactly(4, timeoutMs)).readUInt32BE(0);
  if (size < 1 || size > limit) throw new ScannerError("limit", `milter: packet of ${size} octets`);
  const body = await socket.readExactly(size, timeoutMs);
  return { command: String.fromCharCode(body[0]!), data: body.subarray(1) };
}

/** A configured milter: hands out links and takes them back. */
export class MilterClient {
  readonly settings: MilterSettings;
  readonly budget: MilterBudget;
  readonly #idle: MilterLink[] = [];
  #closed = false;

  constructor(settings: MilterSettings, budget: MilterBudget) {
    this.settings = settings;
    this.budget = budget;
  }

  /** A link at the start of a session: an idle one when there is one, else a new one. */
  async acquire(): Promise<{ link: MilterLink; kept: boolean }> {
    for (let link = this.#idle.pop(); link !== undefined; link = this.#idle.pop()) {
      if (link.reusable) return { link, kept: true };
      link.close();
    }
    return { link: await MilterLink.open(this.settings, this.budget), kept: false };
  }

  /** Ends the session on a link. It is kept for another one when the filter knows QUIT_NC (version 6). */
  async release(link: MilterLink): Promise<void> {
    const { commandMs, keepIdle } = this.settings;
    if (this.#closed || !link.reusable || link.negotiation.version < 6 || this.#idle.length >= keepIdle) {
      await link.quit(commandMs);
      return;
    }
    await link.send(packet(Command.quitNewConnection), commandMs);
    await link.flush(commandMs);
    this.#idle.push(link);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#idle.splice(0).map((link) => link.quit(this.settings.commandMs)));
  }
}
