/**
 * An authoritative name server on loopback for tests: real UDP and TCP packets, and misbehaviour on demand.
 * Packets are made with dns2, another implementation than the one under test; types it lacks go in as raw data.
 */
import dgram from "node:dgram";
import { createRequire } from "node:module";
import net from "node:net";

const dns2 = createRequire(import.meta.url)("dns2") as { Packet: PacketClass };

interface Dns2Packet {
  header: Record<string, number>;
  questions: Array<{ name: string; type: number; class: number }>;
  answers: object[];
  authorities: object[];
  additionals: Array<{ type: number }>;
  toBuffer(): Buffer;
}
interface PacketClass {
  new (data?: object): Dns2Packet;
  parse(bytes: Buffer): Dns2Packet;
}

export type ZoneRecord =
  | { A: string }
  | { AAAA: string }
  | { MX: [number, string] }
  | { TXT: string | string[] }
  | { PTR: string }
  | { CNAME: string }
  | { NS: string }
  | { SRV: { priority: number; weight: number; port: number; target: string } }
  | { TLSA: Buffer }
  | { CAA: { flags: number; tag: string; value: string } };

export interface Asked {
  name: string;
  type: number;
  transport: "udp" | "tcp";
  edns: boolean;
}

export interface Misbehaviour {
  /** Full control over one answer: return the packets to send, [] for silence, undefined for the usual answer. */
  reply?: (asked: Asked, query: Buffer, usual: Buffer) => Buffer[] | undefined;
  /** ms before each answer. */
  delayMs?: number;
  /** Sets AD in answers. */
  authenticated?: boolean;
  /** RCODE for every answer. */
  rcode?: number;
  ttl?: number;
  /** SOA MINIMUM of negative answers; -1 leaves the SOA out. */
  negativeTtl?: number;
  /** UDP answers longer than this are truncated. Default 1,232. */
  udpSize?: number;
}

export interface DnsServer {
  /** "127.0.0.1:port" */
  address: string;
  asked: Asked[];
  zone: Record<string, ZoneRecord[]>;
  misbehave: Misbehaviour;
  close(): Promise<void>;
}

const codes: Record<string, number> = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  TLSA: 52,
  CAA: 257,
};

function rdata(type: string, value: unknown): Record<string, unknown> {
  switch (type) {
    case "A":
    case "AAAA":
      return { address: value };
    case "MX":
      return { priority: (value as [number, string])[0], exchange: (value as [number, string])[1] };
    case "TXT":
      return { data: value };
    case "PTR":
    case "CNAME":
      return { domain: value };
    case "NS":
      return { ns: value };
    case "SRV":
    case "CAA":
      return value as Record<string, unknown>;
    default:
      return { data: value };
  }
}

/**
 * Starts a server for `zone` (lower-case names without final dot → records).
 * @param at where to listen; a free port of 127.0.0.1 unless said
 */
export async function startDnsServer(
  zone: Record<string, ZoneRecord[]>,
  misbehave: Misbehaviour = {},
  at = { host: "127.0.0.1", port: 0 },
): Promise<DnsServer> {
  const server: DnsServer = { address: "", asked: [], zone, misbehave, close };

  function usualAnswer(query: Dns2Packet): Dns2Packet {
    const question = query.questions[0]!;
    const name = question.name.toLowerCase();
    const records = server.zone[name];
    const packet = new dns2.Packet();
    const { negativeTtl = 60, ttl = 300, rcode, authenticated } = server.misbehave;
    packet.header = {
      id: query.header.id!,
      qr: 1,
      aa: 1,
      rd: 1,
      ra: 1,
      ad: authenticated ? 1 : 0,
      // dns2 before 3.2 packs AD and CD in the Z field
      z: authenticated ? 2 : 0,
      rcode: rcode ?? (records === undefined && !hasBelow(server.zone, name) ? 3 : 0),
    };
    packet.questions = [question];
    for (const record of records ?? []) {
      const [type, value] = Object.entries(record)[0]! as [string, unknown];
      if (codes[type] !== question.type && type !== "CNAME") continue;
      packet.answers.push({ name: question.name, type: codes[type], class: 1, ttl, ...rdata(type, value) });
    }
    if (packet.answers.length === 0 && negativeTtl >= 0) {
      packet.authorities.push({
        name: name.split(".").slice(-2).join("."),
        type: codes.SOA,
        class: 1,
        ttl: 3600,
        primary: "ns.test",
        admin: "admin.test",
        serial: 1,
        refresh: 1,
        retry: 1,
        expiration: 1,
        minimum: negativeTtl,
      });
    }
    return packet;
  }

  function answer(bytes: Buffer, transport: "udp" | "tcp", send: (reply: Buffer) => void): void {
    const query = dns2.Packet.parse(bytes);
    const question = query.questions[0]!;
    const asked: Asked = {
      name: question.name,
      type: question.type,
      transport,
      edns: query.additionals.some((record) => record.type === 41),
    };
    server.asked.push(asked);
    let usual = usualAnswer(query).toBuffer();
    if (transport === "udp" && usual.length > (server.misbehave.udpSize ?? 1232)) {
      const cut = usualAnswer(query);
      cut.answers = [];
      cut.header.tc = 1;
      usual = cut.toBuffer();
    }
    if (server.misbehave.authenticated) usual[3] = usual[3]! | 0x20;
    const replies = server.misbehave.reply?.(asked, bytes, usual) ?? [usual];
    const delay = server.misbehave.delayMs ?? 0;
    const go = () => {
      for (const reply of replies) send(reply);
    };
    if (delay > 0) setTimeout(go, delay).unref();
    else go();
  }

  const udp = dgram.createSocket("udp4");
  udp.on("message", (bytes, peer) =>
    answer(bytes, "udp", (reply) =>
      udp.send(reply, peer.port, peer.address, () => {
        // the test may have closed the server before a delayed answer
      }),
    ),
  );
  const tcp = net.createServer((socket) => {
    let pending = Buffer.alloc(0);
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const length = pending.readUInt16BE(0);
        answer(pending.subarray(2, 2 + length), "tcp", (reply) => {
          const prefix = Buffer.alloc(2);
          prefix.writeUInt16BE(reply.length);
          socket.write(Buffer.concat([prefix, reply]));
        });
        pending = pending.subarray(2 + length);
      }
    });
  });
  const sockets = new Set<net.Socket>();
  tcp.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  // The same free port for both transports.
  for (;;) {
    await new Promise<void>((resolve, reject) => tcp.once("error", reject).listen(at.port, at.host, resolve));
    const { port } = tcp.address() as net.AddressInfo;
    const bound = await new Promise<boolean>((resolve) => {
      udp.once("error", () => resolve(false));
      udp.bind(port, at.host, () => resolve(true));
    });
    if (bound) {
      server.address = `${at.host}:${port}`;
      break;
    }
    await new Promise<void>((resolve) => tcp.close(() => resolve()));
  }

  async function close(): Promise<void> {
    await new Promise<void>((resolve) => udp.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => tcp.close(() => resolve()));
  }
  return server;
}

function hasBelow(zone: Record<string, ZoneRecord[]>, name: string): boolean {
  return Object.keys(zone).some((key) => key.endsWith(`.${name}`));
}
