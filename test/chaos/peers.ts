/**
 * The peers of the gateway in a chaos run, each with a mood that a fault changes: the next hop, the DNS server and the
 * virus scanner. All in this process, on free loopback ports.
 */
import { createSocket } from "node:dgram";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { Ledger } from "./ledger.ts";

export type HopMood = "kind" | "tempfail" | "reject" | "drop" | "silent" | "garbage" | "slow";

export interface NextHop {
  readonly port: number;
  mood: HopMood;
  /** Closes all connections: those it left without an answer would wait for minutes (RFC 5321 §4.5.3.2). */
  hangUp(): void;
  close(): void;
}

/** A next hop. `drop`: takes the message and closes without a word; `silent`: never answers; `garbage`: no SMTP. */
export async function startNextHop(ledger: Pick<Ledger, "arrived" | "reported">, host = "127.0.0.1"): Promise<NextHop> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
    const answer = (text: string): void => {
      if (hop.mood === "silent" || socket.destroyed) return;
      if (hop.mood === "garbage") socket.write("\0\xff250 what?\r\n\r\n999-\r\n", "latin1");
      else if (hop.mood === "slow") setTimeout(() => socket.destroyed || socket.write(text), 200);
      else socket.write(text);
    };
    let text = "";
    let inData = false;
    let report = false;
    answer("220 hop.test ESMTP\r\n");
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      for (;;) {
        const end = text.indexOf(inData ? "\r\n.\r\n" : "\r\n");
        if (end < 0) return;
        const part = text.slice(0, end);
        text = text.slice(end + (inData ? 5 : 2));
        if (inData) {
          inData = false;
          // A message that gets no 250 here has not arrived; one whose 250 was cut off has, and will come again.
          if (hop.mood !== "tempfail" && hop.mood !== "silent" && hop.mood !== "garbage") {
            const message = `${part}\r\n`.replace(/^\./gm, "");
            if (report) ledger.reported(message);
            else ledger.arrived(message);
          }
          if (hop.mood === "drop") socket.destroy();
          else answer(hop.mood === "tempfail" ? "451 4.3.0 later\r\n" : "250 2.0.0 ok\r\n");
          continue;
        }
        const verb = part.slice(0, 4).toUpperCase();
        if (verb === "MAIL") report = part.includes("<>");
        if (verb === "EHLO") answer("250-hop.test\r\n250 8BITMIME\r\n");
        else if (verb === "RCPT" && hop.mood === "reject" && !report) answer("550 5.1.1 nobody here\r\n");
        else if (verb === "DATA") {
          inData = hop.mood !== "garbage" && hop.mood !== "silent";
          answer("354 go on\r\n");
        } else if (verb === "QUIT") socket.end("221 2.0.0 bye\r\n");
        else answer("250 2.0.0 ok\r\n");
      }
    });
  });
  const hop: NextHop = {
    port: await listen(server, host),
    mood: "kind",
    hangUp() {
      for (const socket of sockets) socket.destroy();
    },
    close() {
      hop.hangUp();
      server.close();
    },
  };
  return hop;
}

export type ServiceMood = "kind" | "silent" | "garbage" | "slow";

export interface Service {
  readonly port: number;
  mood: ServiceMood;
  close(): void;
}

/** Answers every question with NXDOMAIN (RFC 1035 §4.1.1, RCODE 3); `garbage` lies about the transaction and the rest. */
export async function startDns(host: string): Promise<Service> {
  const socket = createSocket("udp4");
  await new Promise<void>((done) => socket.bind(0, host, done));
  socket.on("message", (question, peer) => {
    if (service.mood === "silent") return;
    const answer = Buffer.from(question);
    answer.writeUInt16BE(0x8183, 2);
    if (service.mood === "garbage") answer.fill(0xc0, answer.length >> 1).writeUInt16BE(0xffff, 6);
    setTimeout(() => socket.send(answer, peer.port, peer.address), service.mood === "slow" ? 700 : 0);
  });
  const service: Service = { port: socket.address().port, mood: "kind", close: () => void socket.close() };
  return service;
}

/** A clamd that finds nothing; it knows INSTREAM alone. */
export async function startScanner(host: string): Promise<Service> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
    let tail = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      tail = Buffer.concat([tail, chunk]).subarray(-4);
      // The stream ends with a chunk of length zero.
      if (service.mood === "silent" || tail.length < 4 || tail.readUInt32BE(0) !== 0) return;
      const text = service.mood === "garbage" ? "\xff\xfe FOUND? nothing\n\0" : "stream: OK\0";
      setTimeout(() => socket.destroyed || socket.end(text, "latin1"), service.mood === "slow" ? 500 : 0);
    });
  });
  const service: Service = {
    port: await listen(server, host),
    mood: "kind",
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
  return service;
}

function listen(server: Server, host: string): Promise<number> {
  return new Promise((done) => server.listen(0, host, () => done((server.address() as AddressInfo).port)));
}
