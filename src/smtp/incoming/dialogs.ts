/**
 * Plays SMTP dialogues in chasquid's ".cmy" form against a listener (syntax in the suite's NOTICE).
 * Invariants: replies are compared by class (first digit) and order; a multi-line reply counts as one. Failure: a step
 * that isn't answered in time, or with another class, throws DialogError; steps that aren't SMTP make the dialogue
 * unplayable (`isPlayable`).
 */
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

export class DialogError extends Error {
  override name = "DialogError";
}

export interface DialogPorts {
  plain: number;
  tls: number;
}

const replyMs = 5_000;
const playable = /^\w+ (?:tcp_connect|tls_connect|->|~>|<~|<-|<\.\.\.|close)/;

function steps(script: string): string[] {
  return script.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#"));
}

/** False when the dialogue runs other programs or listens itself. */
export function isPlayable(script: string): boolean {
  return steps(script).every((line) => playable.test(line));
}

/** A sum of products of Python string literals and integers, as in `('a' * 899 + '\r\n') * 10`. */
export function evaluate(source: string): string {
  const tokens = source.match(/b?'(?:[^'\\]|\\.)*'|b?"(?:[^"\\]|\\.)*"|\d+|[()+*]/g) ?? [];
  let at = 0;
  const factor = (): string | number => {
    const token = tokens[at++];
    if (token === undefined) throw new DialogError(`unreadable expression ${source}`);
    if (token === "(") {
      const inner = sum();
      at++;
      return inner;
    }
    return /^\d/.test(token) ? Number(token) : literal(token);
  };
  const product = (): string | number => {
    let left = factor();
    while (tokens[at] === "*") {
      at++;
      const right = factor();
      left = typeof left === "string" ? left.repeat(Number(right)) : String(right).repeat(left);
    }
    return left;
  };
  const sum = (): string => {
    let text = String(product());
    while (tokens[at] === "+") {
      at++;
      text += String(product());
    }
    return text;
  };
  return sum();
}

function literal(token: string): string {
  const named: Record<string, string> = { n: "\n", r: "\r", t: "\t", "0": "\0" };
  return token
    .replace(/^b/, "")
    .slice(1, -1)
    .replace(/\\x([0-9a-f]{2})|\\(.)/gi, (_, hex: string | undefined, char: string) =>
      hex ? String.fromCharCode(Number.parseInt(hex, 16)) : (named[char] ?? char),
    );
}

class Peer {
  private readonly socket: Socket;
  private text = "";
  private closed = false;
  private wake: () => void = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.text += chunk.toString("latin1");
      this.wake();
    });
    socket.on("error", () => this.wake()); // "close" follows and says the same
    socket.on("close", () => {
      this.closed = true;
      this.wake();
    });
  }

  send(text: string): void {
    this.socket.write(text, "utf8");
  }

  /** The next whole reply (its last line). */
  async reply(): Promise<string> {
    const until = Date.now() + replyMs;
    for (;;) {
      const match = /^(?:\d{3}-.*\r\n)*\d{3}(?: .*)?\r\n/.exec(this.text);
      if (match) {
        this.text = this.text.slice(match[0].length);
        return match[0].trimEnd().split("\r\n").at(-1)!;
      }
      if (this.closed) throw new DialogError("the server closed the connection");
      const left = until - Date.now();
      if (left <= 0) throw new DialogError("no reply in time");
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  close(): void {
    this.socket.destroy();
  }
}

/** Plays one dialogue; rejects with DialogError at the first step that goes otherwise. */
export async function play(script: string, ports: DialogPorts): Promise<void> {
  const peers = new Map<string, Peer>();
  try {
    for (const step of steps(script)) {
      const [, name = "", action = "", argument = ""] = /^(\w+) (\S+) ?(.*)$/.exec(step) ?? [];
      if (action === "tcp_connect" || action === "tls_connect") {
        peers.get(name)?.close();
        const tls = action === "tls_connect";
        const socket = tls
          ? connectTls({ port: ports.tls, host: "127.0.0.1", rejectUnauthorized: false })
          : connect(ports.plain, "127.0.0.1");
        peers.set(name, new Peer(socket));
        continue;
      }
      const peer = peers.get(name);
      if (!peer) throw new DialogError(`"${name}" is not connected`);
      if (action === "->") peer.send(`${argument}\r\n`);
      else if (action === "~>") peer.send(evaluate(argument));
      else if (action === "close") peer.close();
      else if (!/^\d{3}-/.test(argument)) {
        const reply = await peer.reply();
        if (reply[0] !== argument[0]) throw new DialogError(`after "${step}": got "${reply}"`);
      }
    }
  } finally {
    for (const peer of peers.values()) peer.close();
  }
}
