/**
 * Flow control over all workers: the supervisor holds the one `LocalFlow` and each worker asks it over IPC.
 * `SharedFlow` is the worker's side, `FlowLedger` the supervisor's. What comes up in one turn of the event loop travels
 * in one message; connections that no limit speaks of are never asked about, so a trusted network costs nothing here.
 * Invariants: counts are exact over all workers; what a dead worker left open is given back; bans are known to every
 * worker, limits or not. Failure: while the supervisor is busy connections wait, none comes in unasked; a worker whose
 * supervisor is gone ends (worker.ts).
 */
import type { Budget } from "../config/budget.ts";
import type { ConnectionLimitSet } from "../smtp/incoming/access.ts";
import { type FlowControl, type FlowRefusal, type FlowScope, LocalFlow, peerKey } from "../smtp/incoming/flow.ts";

/** What a worker tells; those with an `id` are answered. */
export type FlowNote =
  | { kind: "enter"; id: number; ip: string; scopes: readonly FlowScope[] }
  | { kind: "leave"; ip: string; scopes: readonly FlowScope[] }
  | { kind: "authFailed"; id: number; ip: string }
  | { kind: "authSucceeded"; ip: string };

export type FlowAnswer = readonly [id: number, answer: FlowRefusal | boolean];

/** A banned peer and the end of its ban, ms since the epoch. */
export type Ban = readonly [peer: string, until: number];

function limitsAnything(limits: ConnectionLimitSet): boolean {
  const { maxConnections, maxPerInterval, maxPerPeer, maxPerPeerInterval } = limits;
  return maxConnections > 0 || maxPerInterval > 0 || maxPerPeer > 0 || maxPerPeerInterval > 0;
}

function limited(scopes: readonly FlowScope[]): readonly FlowScope[] {
  return scopes.filter(({ limits }) => limitsAnything(limits));
}

export class SharedFlow implements FlowControl {
  readonly #send: (notes: readonly FlowNote[]) => void;
  readonly #bans = new Map<string, number>();
  readonly #waiting = new Map<number, (answer: FlowRefusal | boolean) => void>();
  #outbox: FlowNote[] = [];
  #nextId = 0;

  constructor(send: (notes: readonly FlowNote[]) => void) {
    this.#send = send;
  }

  enter(ip: string, scopes: readonly FlowScope[]): FlowRefusal | Promise<FlowRefusal> {
    if (this.#bans.size > 0 && (this.#bans.get(peerKey(ip)) ?? 0) > Date.now()) return "banned";
    const asked = limited(scopes);
    if (asked.length === 0) return undefined;
    return this.#ask<FlowRefusal>((id) => ({ kind: "enter", id, ip, scopes: asked }));
  }

  leave(ip: string, scopes: readonly FlowScope[]): void {
    const counted = limited(scopes);
    if (counted.length > 0) this.#post({ kind: "leave", ip, scopes: counted });
  }

  authFailed(ip: string): Promise<boolean> {
    return this.#ask<boolean>((id) => ({ kind: "authFailed", id, ip }));
  }

  authSucceeded(ip: string): void {
    this.#post({ kind: "authSucceeded", ip });
  }

  /** Answers from the supervisor. */
  answered(answers: readonly FlowAnswer[]): void {
    for (const [id, answer] of answers) {
      this.#waiting.get(id)?.(answer);
      this.#waiting.delete(id);
    }
  }

  /** Bans from the supervisor; those that are over are forgotten here, so that the set stays as small as its source. */
  banned(bans: readonly Ban[]): void {
    const now = Date.now();
    for (const [peer, until] of this.#bans) if (until <= now) this.#bans.delete(peer);
    for (const [peer, until] of bans) this.#bans.set(peer, until);
  }

  #ask<T extends FlowRefusal | boolean>(note: (id: number) => FlowNote): Promise<T> {
    return new Promise((resolve) => {
      const id = ++this.#nextId;
      this.#waiting.set(id, (answer) => resolve(answer as T));
      this.#post(note(id));
    });
  }

  #post(note: FlowNote): void {
    if (this.#outbox.length === 0) setImmediate(() => this.#flush());
    this.#outbox.push(note);
  }

  #flush(): void {
    const notes = this.#outbox;
    this.#outbox = [];
    this.#send(notes);
  }
}

/** Connections of one peer in the same scopes. */
interface Open {
  ip: string;
  scopes: readonly FlowScope[];
  count: number;
}

function openKey(ip: string, scopes: readonly FlowScope[]): string {
  return `${ip} ${scopes.map(({ name }) => name).join(" ")}`;
}

export class FlowLedger {
  readonly #flow: LocalFlow;
  readonly #announce: (bans: readonly Ban[]) => void;
  readonly #open = new Map<number, Map<string, Open>>();

  /** `announce` tells all workers of a new ban. */
  constructor(budget: Budget, announce: (bans: readonly Ban[]) => void, now?: () => number) {
    this.#flow = new LocalFlow(budget, now);
    this.#announce = announce;
  }

  /** Takes a worker's notes, in order; answers those that ask. */
  take(worker: number, notes: readonly FlowNote[]): FlowAnswer[] {
    const answers: FlowAnswer[] = [];
    for (const note of notes) {
      if (note.kind === "enter") answers.push([note.id, this.#enter(worker, note.ip, note.scopes)]);
      else if (note.kind === "leave") this.#leave(worker, note.ip, note.scopes);
      else if (note.kind === "authSucceeded") this.#flow.authSucceeded(note.ip);
      else answers.push([note.id, this.#authFailed(note.ip)]);
    }
    return answers;
  }

  /** The bans in force, for a worker that has just started. */
  bans(): Ban[] {
    return this.#flow.bans();
  }

  /** The worker is gone and its connections with it. */
  forget(worker: number): void {
    for (const { ip, scopes, count } of this.#open.get(worker)?.values() ?? []) {
      for (let i = 0; i < count; i++) this.#flow.leave(ip, scopes);
    }
    this.#open.delete(worker);
  }

  #enter(worker: number, ip: string, scopes: readonly FlowScope[]): FlowRefusal {
    const refused = this.#flow.enter(ip, scopes);
    if (refused) return refused;
    let ofWorker = this.#open.get(worker);
    if (!ofWorker) this.#open.set(worker, (ofWorker = new Map()));
    const key = openKey(ip, scopes);
    const open = ofWorker.get(key);
    if (open) open.count++;
    else ofWorker.set(key, { ip, scopes, count: 1 });
    return undefined;
  }

  #leave(worker: number, ip: string, scopes: readonly FlowScope[]): void {
    const key = openKey(ip, scopes);
    const open = this.#open.get(worker)?.get(key);
    if (!open) return; // a worker can only give back what it took
    if (--open.count === 0) this.#open.get(worker)!.delete(key);
    this.#flow.leave(ip, scopes);
  }

  #authFailed(ip: string): boolean {
    const banned = this.#flow.authFailed(ip);
    if (banned) this.#announce([[peerKey(ip), this.#flow.bannedUntil(ip)]]);
    return banned;
  }
}
