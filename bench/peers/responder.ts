/**
 * The measuring sticks of bench/smtp.ts: a bare `net` responder (Node's own limit here), the smtp-server package and
 * Postfix's smtp-sink. All accept and discard. As a server: node bench/peers/responder.ts NAME PORT
 */
import { createServer } from "node:net";
import { SMTPServer } from "smtp-server";
import { freePort, greeted } from "../measure.ts";
import { type Subject, type SubjectOptions, startProcess, stopProcess } from "./subject.ts";

export const responders = ["net", "smtp-server", "smtp-sink"] as const;
const sink = "/usr/sbin/smtp-sink";

export async function startResponder(name: (typeof responders)[number], { core }: SubjectOptions): Promise<Subject> {
  const port = await freePort();
  const child =
    name === "smtp-sink"
      ? startProcess(core, sink, ["-u", "nobody", `127.0.0.1:${port}`, "1000"])
      : startProcess(core, process.execPath, [import.meta.filename, name, String(port)]);
  await greeted(port);
  return { name, port, roots: [child.pid!], stop: () => stopProcess(child) };
}

function serveSmtpServer(port: number): void {
  const server = new SMTPServer({
    authOptional: true,
    disableReverseLookup: true,
    disabledCommands: ["AUTH", "STARTTLS"],
    onData: (stream, _session, done) => {
      stream.on("data", () => {});
      stream.on("end", () => done());
    },
  });
  server.listen(port, "127.0.0.1");
}

/** Answers what smtp-source says without reading more of it than the end of data. */
function serveNet(port: number): void {
  createServer({ noDelay: true }, (socket) => {
    let inData = false;
    let tail = "";
    socket.write("220 bench.test ESMTP\r\n");
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk: Buffer) => {
      if (inData) {
        tail = (tail + chunk.toString("latin1", Math.max(0, chunk.length - 5))).slice(-5);
        if (tail !== "\r\n.\r\n") return;
        inData = false;
        tail = "";
        socket.write("250 2.0.0 Ok\r\n");
        return;
      }
      switch (chunk[0]! | 0x20) {
        case 0x64: // DATA
          inData = true;
          socket.write("354 Go\r\n");
          break;
        case 0x71: // QUIT
          socket.end("221 Bye\r\n");
          break;
        default:
          socket.write("250 2.1.0 Ok\r\n");
      }
    });
  }).listen(port, "127.0.0.1");
}

if (import.meta.main) {
  const [name, port] = process.argv.slice(2);
  if (name === "net") serveNet(Number(port));
  else serveSmtpServer(Number(port));
}
