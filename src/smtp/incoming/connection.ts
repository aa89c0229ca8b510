/**
 * One client connection: octets in, replies out, TLS upgrade, deadline, orderly end. It knows nothing of SMTP.
 * Invariants: input is handed to the owner in order and only while the owner isn't held; replies made while one piece
 * of input is worked on leave in one write; input waits while more than `replyBacklog` octets of replies are unread
 * by the peer, so a client that never reads costs a bounded amount of memory. Failure: any socket or TLS error ends
 * in exactly one `closed(reason)`.
 */
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";

/** What a connection carries; the session implements it. */
export interface ConnectionOwner {
  /** Takes octets from `from` on and answers the index of the first one not taken; `from` itself asks for more. */
  consume(input: Buffer, from: number): number;
  /** The deadline passed. */
  timedOut(): void;
  /** The peer sends no more (half close). Called when its input was worked off. */
  inputEnded(): void;
  closed(reason: string): void;
}

export interface ConnectionLimits {
  replyBacklog: number;
  /** How long a closing connection goes on reading, so that a reset doesn't overtake the last reply. */
  lingerMs: number;
}

/** Command lines worked off in one go: some 2 ms, so that a pipelined flood doesn't hold up everybody else. */
const piecesPerTurn = 200;

export class Connection {
  /** Time (ms) at which `timedOut` is called; the listener sweeps all connections. */
  deadline = Number.POSITIVE_INFINITY;
  socket: Socket | TLSSocket;
  private readonly owner: ConnectionOwner;
  private readonly limits: ConnectionLimits;
  private pending: Buffer | undefined;
  private out = "";
  private outIsWide = false;
  private held = 0;
  private running = false;
  private releasing = false;
  private choked = false;
  private ended = false;
  private closing = false;
  private done = false;
  private reason = "";

  constructor(socket: Socket, owner: ConnectionOwner, limits: ConnectionLimits) {
    this.socket = socket;
    this.owner = owner;
    this.limits = limits;
    this.attach(socket);
  }

  private readonly onData = (chunk: Buffer): void => {
    if (this.closing) return;
    if (this.pending === undefined) this.pending = chunk;
    else this.pending = Buffer.concat([this.pending, chunk]);
    this.run();
  };

  private readonly onEnd = (): void => {
    this.ended = true;
    if (this.closing) this.socket.destroy();
    else this.run();
  };

  private readonly onDrain = (): void => {
    if (!this.choked) return;
    this.choked = false;
    this.run();
  };

  private readonly onError = (error: Error): void => {
    if (this.reason === "") this.reason = error.message;
    this.socket.destroy();
  };

  private readonly onClose = (): void => {
    if (this.done) return;
    this.done = true;
    this.closing = true;
    this.pending = undefined;
    this.owner.closed(this.reason === "" ? "closed by client" : this.reason);
  };

  private attach(socket: Socket): void {
    socket.on("data", this.onData);
    socket.on("end", this.onEnd);
    socket.on("drain", this.onDrain);
    socket.on("error", this.onError);
    socket.on("close", this.onClose);
  }

  /** Octets that came beyond those being worked on now. */
  get waiting(): number {
    const pending = this.running && !this.releasing ? 0 : (this.pending?.length ?? 0);
    return pending + this.socket.readableLength;
  }

  get isClosing(): boolean {
    return this.closing;
  }

  get isHeld(): boolean {
    return this.held > 0;
  }

  get isChoked(): boolean {
    return this.choked;
  }

  /** Adds reply text; it is written when the current input is worked off, or by `flush`. `wide`: not only ASCII. */
  reply(text: string, wide = false): void {
    this.out += text;
    if (wide) this.outIsWide = true;
    if (!this.running) this.flush();
  }

  flush(): void {
    if (this.out === "" || this.socket.destroyed) return;
    const text = this.out;
    this.out = "";
    // ASCII is written without looking at it; only SMTPUTF8 sessions get anything else (RFC 6531 §3.7.4.1).
    const encoding = this.outIsWide ? "utf8" : "latin1";
    this.outIsWide = false;
    if (!this.socket.write(text, encoding) && this.socket.writableLength > this.limits.replyBacklog) this.choked = true;
  }

  /** Stops handing out input until `release`; holds nest. */
  hold(): void {
    this.held++;
  }

  /** Ends one hold: does `action`, then goes on with the input; all their replies leave together. */
  release(action: () => void): void {
    this.held--;
    this.running = true;
    this.releasing = true;
    try {
      action();
    } finally {
      this.running = false;
      this.releasing = false;
    }
    this.run();
  }

  /** Works off the input that is there. */
  private run(): void {
    if (this.running) return;
    this.running = true;
    try {
      let from = 0;
      let pieces = 0;
      while (this.pending !== undefined && this.held === 0 && !this.choked && !this.closing) {
        const input: Buffer = this.pending;
        const next: number = this.owner.consume(input, from);
        if (this.pending !== input) {
          from = 0; // dropped by the owner (STARTTLS, end)
          continue;
        }
        if (next >= input.length) this.pending = undefined;
        else if (next === from) break;
        from = next;
        if (this.out.length > this.limits.replyBacklog) this.flush();
        if (++pieces >= piecesPerTurn) this.yieldTurn();
      }
      if (this.pending !== undefined && from > 0) this.pending = keep(this.pending, from);
    } finally {
      this.running = false;
    }
    this.flush();
    if (this.closing) return;
    const blocked = this.held > 0 || this.choked;
    if (blocked && this.pending !== undefined) this.socket.pause();
    else if (this.socket.isPaused()) this.socket.resume();
    if (this.ended && !blocked) this.owner.inputEnded();
  }

  /** Lets others have their turn; input goes on in the next one. */
  private yieldTurn(): void {
    this.hold();
    setImmediate(() => this.release(() => {}));
  }

  /** Gives octets back to the socket, where a TLS wrapper will find them. Input not taken yet is dropped. */
  giveBack(octets: Buffer): void {
    this.pending = undefined;
    if (octets.length === 0) return;
    this.socket.pause(); // a flowing socket would hand them to us again at once
    this.socket.unshift(octets);
  }

  /** Replaces the plain socket by its TLS wrapper; input goes on from there. */
  upgrade(secure: TLSSocket): void {
    const plain = this.socket;
    this.flush();
    plain.off("data", this.onData);
    plain.off("end", this.onEnd);
    plain.off("drain", this.onDrain);
    plain.off("close", this.onClose);
    this.pending = undefined;
    this.socket = secure;
    this.attach(secure);
    // A wrapped socket reports protocol errors here and leaves it to us to close.
    secure.on("_tlsError", this.onError);
  }

  /** Writes what is to be said, then closes; goes on reading for a while so that the peer sees the reply. */
  end(reason: string, now: number): void {
    if (this.closing) return;
    this.flush();
    this.closing = true;
    this.reason = reason;
    this.pending = undefined;
    this.deadline = now + this.limits.lingerMs;
    this.socket.resume();
    if (this.ended) this.socket.destroySoon();
    else this.socket.end();
  }

  /**
   * Writes what is to be said and closes at once: for a client that has said its last word (QUIT). What the kernel took
   * reaches it all the same, and nobody has to wait for its side to end.
   */
  close(reason: string, now: number): void {
    this.flush();
    if (this.socket instanceof TLSSocket || this.socket.writableLength > 0) this.end(reason, now);
    else {
      this.pending = undefined;
      this.destroy(reason);
    }
  }

  destroy(reason: string): void {
    if (this.reason === "") this.reason = reason;
    this.closing = true;
    this.socket.destroy();
  }
}

/** What is left of `input`; copied when it would keep a much larger buffer alive. */
function keep(input: Buffer, from: number): Buffer {
  const rest = input.subarray(from);
  if (rest.length * 4 > input.length) return rest;
  const copy = Buffer.allocUnsafeSlow(rest.length);
  rest.copy(copy);
  return copy;
}
