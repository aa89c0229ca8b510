/** A hand-driven SMTP client for benchmarks: one command, one reply. Failure: rejects when the connection ends. */
import { connect, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";

/** Resolves with the reply when its last line has come. */
export function reply(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const onClose = (): void => reject(new Error("the server closed the connection"));
    const onData = (chunk: Buffer): void => {
      text += chunk.toString("latin1");
      if (!/^\d{3}(?: [^\n]*)?\n$/m.test(text)) return;
      socket.off("data", onData).off("error", reject).off("close", onClose);
      resolve(text);
    };
    socket.on("data", onData).once("error", reject).once("close", onClose);
  });
}

/** Says a line and rejects unless the reply begins with `expected`. */
export async function say(socket: Socket, text: string, expected = "2"): Promise<void> {
  socket.write(text);
  const answer = await reply(socket);
  if (!answer.startsWith(expected)) throw new Error(`expected ${expected}: ${answer}`);
}

/** Connects, waits for the greeting and says EHLO. */
export async function openSession(port: number): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await reply(socket);
  await say(socket, "EHLO load.test\r\n");
  return socket;
}

/** STARTTLS and EHLO in an open session. `prepare` sees the socket before the handshake. */
export async function startTls(
  socket: Socket,
  options: ConnectionOptions,
  prepare: (secure: TLSSocket) => void = () => {},
): Promise<TLSSocket> {
  await say(socket, "STARTTLS\r\n");
  const secure = connectTls({ ...options, socket, rejectUnauthorized: false });
  prepare(secure);
  await new Promise<void>((resolve, reject) => {
    secure.once("secureConnect", resolve);
    secure.once("error", reject);
  });
  await say(secure, "EHLO load.test\r\n");
  return secure;
}
