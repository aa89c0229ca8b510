/**
 * `postern send`: hands one message to an SMTP server, to try a policy without another mail program.
 * Exit codes: 0 all recipients accepted, 1 one was refused or the server could not be reached, 2 wrong usage.
 */
import { lookup } from "node:dns/promises";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { text } from "node:stream/consumers";
import { parseArgs } from "node:util";
import { budgetDefaults } from "../config/budget.ts";
import { formatDate } from "../message/date.ts";
import { foldField } from "../message/edit.ts";
import { memoryBody } from "../queue/body.ts";
import { defaultTimeouts, SmtpConnection } from "../smtp/outgoing/client.ts";
import { SmtpError } from "../smtp/outgoing/error.ts";
import { transact } from "../smtp/outgoing/transaction.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  name: "send",
  summary: "send one message, to try things out",
  help: `Usage: postern send --from ADDRESS --to ADDRESS... [--server HOST:PORT] [--subject TEXT] [--body TEXT] [FILE]
                    [--user NAME --password WORD] [--tls none|offered|required]

Sends FILE (a whole message; "-" for standard input), or a small message made of --subject and --body, and prints
the reply for each recipient. Default server: 127.0.0.1:2525. Certificates are not verified: this is a trying tool.`,
  async run(argv, io) {
    const { values, positionals } = parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        from: { type: "string" },
        to: { type: "string", multiple: true },
        server: { type: "string", default: "127.0.0.1:2525" },
        subject: { type: "string", default: "A message from postern send" },
        body: { type: "string", default: "Hello.\n" },
        user: { type: "string" },
        password: { type: "string" },
        tls: { type: "string", default: "offered" },
      },
    });
    const server = /^(\[[^\]]+\]|[^:]+):(\d+)$/.exec(values.server);
    const tlsMode = (["none", "offered", "required"] as const).find((mode) => mode === values.tls);
    if (values.from === undefined || !values.to?.length || !server || !tlsMode) {
      io.err("usage: postern send --from ADDRESS --to ADDRESS [--server HOST:PORT] (postern send --help tells more)\n");
      return 2;
    }
    const message =
      positionals[0] === undefined
        ? compose(values.from, values.to, values.subject, values.body)
        : await readMessage(positionals[0], io.cwd);
    const host = server[1]!.replace(/^\[|\]$/g, "");
    let connection: SmtpConnection;
    try {
      connection = await SmtpConnection.open({
        host,
        addresses: [(await lookup(host)).address],
        port: Number(server[2]),
        localAddress: "",
        lmtp: false,
        tls: { mode: tlsMode, implicit: false, minVersion: "TLSv1.2", maxVersion: "TLSv1.3", verify: () => undefined },
        credentials:
          values.user === undefined
            ? undefined
            : { user: values.user, password: values.password ?? "", mechanisms: [] },
        ehloName: hostname(),
        timeouts: defaultTimeouts,
        budget: budgetDefaults,
      });
    } catch (error) {
      const reason = error instanceof SmtpError ? `${error.stage}: ${error.outcome.text}` : (error as Error).message;
      io.err(`postern send: ${values.server}: ${reason}\n`);
      return 1;
    }
    const { outcomes } = await transact(connection, {
      mail: {
        mailFrom: values.from,
        body: "8BITMIME",
        smtpUtf8: /[^\x00-\x7f]/.test(values.from + values.to.join("")),
        requireTls: false,
      },
      recipients: values.to.map((address) => ({ address })),
      body: memoryBody(message),
    });
    connection.quit();
    for (const [index, said] of outcomes.entries()) {
      io.out(`${values.to[index]}: ${said.code} ${said.enhanced} ${said.text}\n`);
    }
    return outcomes.every((said) => said.code < 400) ? 0 : 1;
  },
};

function compose(from: string, to: readonly string[], subject: string, body: string): Buffer {
  const fields = [
    foldField("From", from === "" ? "nobody" : `<${from}>`),
    foldField("To", to.map((address) => `<${address}>`).join(", ")),
    foldField("Subject", subject),
    foldField("Date", formatDate(Date.now())),
    foldField("Message-ID", `<${Date.now()}.${process.pid}@${hostname()}>`),
  ];
  return Buffer.from(`${fields.join("\r\n")}\r\n\r\n${body.replace(/\r?\n/g, "\r\n")}`);
}

async function readMessage(file: string, cwd: string): Promise<Buffer> {
  const source = file === "-" ? await text(process.stdin) : readFileSync(resolve(cwd, file), "latin1");
  return Buffer.from(source.replace(/\r?\n/g, "\r\n"), file === "-" ? "utf8" : "latin1");
}
