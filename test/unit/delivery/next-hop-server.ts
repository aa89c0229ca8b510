/**
 * A scripted next hop for tests: a real socket that says what the script tells it to, records what it was sent, and
 * can misbehave at any moment.
 */

import type { AddressInfo } from "node:net";
import { createServer, type Server, type Socket } from "node:net";
import { TLSSocket } from "node:tls";

export interface Received {
  commands: string[];
  /** Content of each message, dot-unstuffed. */
  messages: string[];
  /** Of each handshake. */
  tlsVersions: string[];
}

export interface Script {
  greeting?: string;
  /** EHLO lines after the first. */
  extensions?: string[];
  /** Answer to a command line; undefined = the usual one; "" = nothing; "CLOSE" = close at once. */
  answer?(line: string, session: number): string | undefined;
  /** Answer to the end of data. */
  endOfData?(content: string, session: number): string | undefined;
  lmtp?: boolean;
  /** Offers STARTTLS with this certificate. */
  tls?: { cert: string; key: string };
}

export interface NextHopServer extends Received {
  port: number;
  sessions: number;
  close(): Promise<void>;
}

export async function startNextHop(script: Script = {}): Promise<NextHopServer> {
  const state: NextHopServer = {
    commands: [],
    messages: [],
    tlsVersions: [],
    port: 0,
    sessions: 0,
    close: async () => {},
  };
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    serve(socket, ++state.sessions, script, state);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  state.port = (server.address() as AddressInfo).port;
  state.close = async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  return state;
}

function serve(socket: Socket, session: number, script: Script, state: NextHopServer, secure = false): void {
  let buffer = "";
  let mode: "command" | "data" | number = "command";
  let content = "";
  let accepted = 0;
  const say = (text: string) => {
    if (text === "CLOSE") socket.destroy();
    else if (text !== "") socket.write(text, "latin1");
  };
  const finish = () => {
    state.messages.push(content);
    const own = script.endOfData?.(content, session);
    content = "";
    const lines = script.lmtp ? accepted : 1;
    accepted = 0;
    say(own ?? "250 2.0.0 taken\r\n".repeat(lines));
  };
  const command = (line: string) => {
    state.commands.push(line);
    const verb = line.split(" ")[0]!.toUpperCase();
    const own = script.answer?.(line, session);
    const extensions = [...(script.extensions ?? ["PIPELINING", "8BITMIME", "SIZE 0"])];
    if (script.tls && !secure) extensions.push("STARTTLS");
    const usual: Record<string, string> = {
      STARTTLS: script.tls ? "220 go" : "502 no",
      EHLO: ["250-hop.test", ...extensions.map((e) => `250-${e}`), "250 HELP"].join("\r\n"),
      DATA: "354 go on",
      QUIT: "221 bye",
    };
    usual.LHLO = usual.EHLO!;
    const reply = own ?? `${usual[verb] ?? "250 2.0.0 ok"}\r\n`;
    if (verb === "RCPT" && reply.startsWith("2")) accepted++;
    if (verb === "DATA" && reply.startsWith("354")) mode = "data";
    if (verb === "BDAT") {
      mode = Number(line.split(" ")[1]);
      bdatLast = /LAST$/i.test(line);
      bdatReply = reply;
      if (mode === 0) endChunk();
      return;
    }
    say(reply);
    if (verb === "QUIT") socket.end();
    if (verb === "STARTTLS" && script.tls && reply.startsWith("220")) {
      socket.removeAllListeners("data");
      const wrapped = new TLSSocket(socket, { isServer: true, ...script.tls });
      wrapped.on("error", () => socket.destroy());
      wrapped.once("secure", () => state.tlsVersions.push(wrapped.getProtocol() ?? ""));
      serve(wrapped, session, script, state, true);
    }
  };
  let bdatLast = false;
  let bdatReply = "";
  const endChunk = () => {
    mode = "command";
    if (bdatLast && bdatReply.startsWith("2")) finish();
    else say(bdatReply);
  };
  socket.on("data", (chunk) => {
    buffer += chunk.toString("latin1");
    for (;;) {
      if (typeof mode === "number") {
        if (buffer.length < mode) return;
        content += buffer.slice(0, mode);
        buffer = buffer.slice(mode);
        endChunk();
        continue;
      }
      const end = buffer.indexOf("\r\n");
      if (end < 0) return;
      const line = buffer.slice(0, end);
      buffer = buffer.slice(end + 2);
      if (mode === "command") command(line);
      else if (line === ".") {
        mode = "command";
        finish();
      } else content += `${line.startsWith(".") ? line.slice(1) : line}\r\n`;
    }
  });
  if (!secure) say(script.greeting ?? "220 hop.test ESMTP\r\n");
}
