/** A filter that answers as each test says: the peer of milter tests. */
import type { Socket } from "node:net";
import type { TestContext } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { packet } from "../../../src/scanners/milter/codec.ts";
import { MilterClient, type MilterSettings, milterSettings } from "../../../src/scanners/milter/link.ts";
import { fakeServer, flood } from "./fake-server.ts";

export const budget = budgetWith({ milterActions: 5, milterMessageMs: 1_000, milterPacket: 100_000 });

export type Answer = Buffer | Buffer[] | "close" | "hang" | "flood";
export interface Received {
  command: string;
  data: Buffer;
}

export const proceed = packet("c");

export function optneg(actions = 0x1ff, steps = 0, ...symbols: Buffer[]): Buffer {
  const body = Buffer.alloc(12);
  body.writeUInt32BE(6, 0);
  body.writeUInt32BE(actions, 4);
  body.writeUInt32BE(steps, 8);
  return packet("O", body, ...symbols);
}

/** A filter that answers each command by table, "continue" by default; answers what it received. */
export async function filter(
  t: TestContext,
  answers: Partial<Record<string, Answer>>,
  options: { settings?: Partial<MilterSettings>; negotiation?: Buffer; silent?: string } = {},
) {
  const received: Received[] = [];
  const silent = new Set(`DAQK${options.silent ?? ""}`);
  const server = await fakeServer(t, (socket: Socket) => {
    let buffer: Buffer = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      buffer = Buffer.concat([buffer, chunk]);
      while (buffer.length >= 4 && buffer.length >= 4 + buffer.readUInt32BE(0)) {
        const size = buffer.readUInt32BE(0);
        const command = String.fromCharCode(buffer[4]!);
        received.push({ command, data: Buffer.from(buffer.subarray(5, 4 + size)) });
        buffer = buffer.subarray(4 + size);
        const answer = answers[command] ?? (command === "O" ? (options.negotiation ?? optneg()) : proceed);
        if (answer === "close") socket.destroy();
        else if (answer === "flood") flood(socket);
        else if (answer !== "hang" && !silent.has(command)) for (const one of [answer].flat()) socket.write(one);
      }
    });
  });
  const settings = milterSettings({
    name: "f",
    address: server.address,
    connectMs: 300,
    commandMs: 300,
    contentMs: 300,
    ...options.settings,
  });
  const client = new MilterClient(settings, budget);
  t.after(() => client.close());
  return { client, received, server };
}
