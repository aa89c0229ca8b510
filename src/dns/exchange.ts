/**
 * One question to one name server, over UDP and, when the answer is truncated or somebody seems to be forging answers,
 * over TCP. Against forgery (RFC 5452): a fresh socket, hence a random port, for each question; a random id; random
 * letter case of the name (0x20); only datagrams of the asked server are seen (connected socket).
 * Failure: `DnsError` "timeout", "network", "malformed" or "limit".
 */
import { randomBytes, randomInt } from "node:crypto";
import dgram from "node:dgram";
import net from "node:net";
import { decodeResponse, encodeQuery, type Response, typeCode } from "./packet.ts";
import { DnsError, type RecordType } from "./types.ts";

export interface Server {
  address: string;
  port: number;
}

export interface Question {
  /** Wire form of the name. */
  name: Buffer;
  type: RecordType;
  edns: boolean;
}

export interface ExchangeLimits {
  timeoutMs: number;
  maxRecords: number;
  /** Datagrams that match nothing before the question moves to TCP. */
  strayDatagrams: number;
  signal: AbortSignal;
}

/** Turns the case of each letter at random; the server echoes the name as asked. */
function mixCase(name: Buffer): Buffer {
  const mixed = Buffer.from(name);
  const coins = randomBytes(name.length);
  for (let at = 0; at < mixed.length; ) {
    const end = at + 1 + mixed[at]!;
    for (at += 1; at < end; at++) {
      const lower = mixed[at]! | 0x20;
      if (lower >= 0x61 && lower <= 0x7a && coins[at]! & 1) mixed[at] = mixed[at]! ^ 0x20;
    }
  }
  return mixed;
}

type Match = "answer" | "stray" | "caseLost";

/** Whether `bytes` answer `query`: same id, same question (RFC 5452 §9.1), same letter case. */
function match(bytes: Buffer, query: Buffer, name: Buffer, type: RecordType): Match {
  const end = 12 + name.length + 4;
  if (bytes.length < end || bytes.readUInt16BE(0) !== query.readUInt16BE(0)) return "stray";
  if (bytes.readUInt16BE(end - 4) !== typeCode[type]) return "stray";
  const echoed = bytes.subarray(12, 12 + name.length);
  if (echoed.equals(name)) return "answer";
  return echoed.toString("latin1").toLowerCase() === name.toString("latin1").toLowerCase() ? "caseLost" : "stray";
}

function askUdp(server: Server, query: Buffer, question: Question, limits: ExchangeLimits): Promise<Buffer | "tcp"> {
  return new Promise((resolve, reject) => {
    const socket = dgram.createSocket(net.isIPv6(server.address) ? "udp6" : "udp4");
    let strays = 0;
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      limits.signal.removeEventListener("abort", onAbort);
      socket.removeAllListeners();
      socket.on("error", () => {}); // a late ICMP error after the question is settled means nothing
      socket.close();
      settle();
    };
    const fail = (kind: DnsError["kind"], text: string) => finish(() => reject(new DnsError(kind, text)));
    const onAbort = () => fail("network", "resolver closed");
    const timer = setTimeout(() => fail("timeout", `no answer from ${server.address}`), limits.timeoutMs);
    limits.signal.addEventListener("abort", onAbort);
    socket.on("error", (error) => fail("network", `${server.address}: ${error.message}`));
    socket.on("message", (bytes) => {
      const matched = match(bytes, query, question.name, question.type);
      if (matched === "answer") return finish(() => resolve(bytes));
      // A server that loses the case, or a shower of wrong answers: TCP can't be forged from off the path.
      if (matched === "caseLost" || ++strays > limits.strayDatagrams) finish(() => resolve("tcp"));
    });
    socket.connect(server.port, server.address, () => socket.send(query));
  });
}

function askTcp(server: Server, query: Buffer, limits: ExchangeLimits): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: server.address, port: server.port, noDelay: true });
    const chunks: Buffer[] = [];
    let received = 0;
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      limits.signal.removeEventListener("abort", onAbort);
      socket.destroy();
      settle();
    };
    const fail = (kind: DnsError["kind"], text: string) => finish(() => reject(new DnsError(kind, text)));
    const onAbort = () => fail("network", "resolver closed");
    const timer = setTimeout(() => fail("timeout", `no TCP answer from ${server.address}`), limits.timeoutMs);
    limits.signal.addEventListener("abort", onAbort);
    socket.on("error", (error) => fail("network", `${server.address}: ${error.message}`));
    socket.on("end", () => fail("malformed", `${server.address} closed before the whole answer`));
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      received += chunk.length;
      if (received < 2) return;
      // RFC 1035 §4.2.2: two octets of length, hence at most 65,535 octets are ever gathered.
      const whole = chunks.length === 1 ? chunk : Buffer.concat(chunks);
      const length = whole.readUInt16BE(0);
      if (received >= length + 2) finish(() => resolve(whole.subarray(2, length + 2)));
    });
    const prefixed = Buffer.allocUnsafe(query.length + 2);
    prefixed.writeUInt16BE(query.length, 0);
    query.copy(prefixed, 2);
    socket.write(prefixed);
  });
}

/** Asks one server once. The time-out counts for UDP and for TCP separately. */
export async function exchange(server: Server, question: Question, limits: ExchangeLimits): Promise<Response> {
  const name = mixCase(question.name);
  const query = encodeQuery(randomInt(0x10000), name, question.type, question.edns);
  const mixed = { ...question, name };
  const datagram = await askUdp(server, query, mixed, limits);
  if (datagram !== "tcp") {
    const response = decodeResponse(datagram, limits.maxRecords);
    if (!response.truncated) return response;
  }
  const bytes = await askTcp(server, query, limits);
  const matched = match(bytes, query, name, question.type);
  if (matched === "stray") throw new DnsError("malformed", `${server.address} answered another question over TCP`);
  const response = decodeResponse(bytes, limits.maxRecords);
  if (response.truncated) throw new DnsError("malformed", `${server.address} truncated a TCP answer`);
  return response;
}
