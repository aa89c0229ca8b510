/** A server that answers as each test says: the peer of hostile-server tests. */
import { createServer, type Socket } from "node:net";
import type { TestContext } from "node:test";
import type { SocketAddress } from "../../../src/scanners/stream.ts";

export interface FakeServer {
  address: SocketAddress & { port: number };
  connections: number;
}

/** Listens on a free port; `talk` gets each connection. Everything is closed with the test. */
export async function fakeServer(t: TestContext, talk: (socket: Socket, index: number) => void): Promise<FakeServer> {
  const sockets = new Set<Socket>();
  const fake: FakeServer = { address: { host: "127.0.0.1", port: 0 }, connections: 0 };
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    talk(socket, fake.connections++);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  fake.address.port = (server.address() as { port: number }).port;
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return fake;
}

/** Sends without end until the peer goes away. */
export function flood(socket: Socket, octet = 0x61): void {
  const block = Buffer.alloc(64 * 1024, octet);
  const more = () => {
    while (!socket.destroyed && socket.write(block));
  };
  socket.on("drain", more);
  more();
}
