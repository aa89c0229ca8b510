/**
 * Client certificates at the running gateway: policy is told whose they are, OpenSSL's client is one of many, and a
 * session verified by one listener's CAs is unknown to a listener with others.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import { selfSigned } from "../../src/smtp/incoming/selfsigned.ts";
import { Client } from "../unit/smtp-incoming/site.ts";
import { freePort, Lab, until } from "./lab.ts";

const lab = new Lab();
after(() => lab.close());

/** Tells the sender what it knows of the certificate. */
const script = `event onMailFrom {
  set (smtpAction, "reject");
  set (smtpExplanation, "%clientCertVerified% [%clientCertSubject%] [%clientCertIssuer%] [%clientCertFingerprint%]");
}`;

function files(name: string): { cert: string; key: string } {
  const pair = selfSigned([name]);
  const paths = { cert: join(lab.folder, `${name}.crt`), key: join(lab.folder, `${name}.key`) };
  for (const kind of ["cert", "key"] as const) writeFileSync(paths[kind], pair[kind]);
  return paths;
}

/** What the gateway answers to MAIL, and whether the TLS session was resumed. */
async function told(port: number, options: ConnectionOptions): Promise<{ text: string; resumed: boolean }> {
  const socket: TLSSocket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
  await once(socket, "secureConnect");
  const client = new Client(socket);
  await client.hello();
  const text = await client.ask("MAIL FROM:<a@x.test>");
  const resumed = socket.isSessionReused();
  client.end();
  return { text, resumed };
}

test("policy knows a client's certificate, and only the listener's own CAs verify one", {
  timeout: 180_000,
}, async () => {
  const [partner, other, server] = [selfSigned(["partner.test"]), selfSigned(["other.test"]), files("gw.test")];
  const ca = { partner: join(lab.folder, "partner.pem"), other: join(lab.folder, "other.pem") };
  writeFileSync(ca.partner, partner.cert);
  writeFileSync(ca.other, other.cert);
  const [first, second, starttls] = [await freePort(), await freePort(), await freePort()];
  const gateway = await lab.gateway(
    {
      listeners: [
        { address: `127.0.0.1:${first}`, tls: { ...server, mode: "implicit", clientCa: ca.partner } },
        { address: `127.0.0.1:${second}`, tls: { ...server, mode: "implicit", clientCa: ca.other } },
        { address: `127.0.0.1:${starttls}`, tls: { ...server, clientCa: ca.partner } },
      ],
    },
    script,
  );
  const print = new X509Certificate(partner.cert).fingerprint256;
  const verified = `yes [CN=partner.test] [CN=partner.test] [${print}]`;
  const socket = connectTls({ port: first, host: "127.0.0.1", rejectUnauthorized: false, ...partner });
  const [session] = (await once(socket, "session")) as [Buffer];
  socket.destroy();

  assert.ok((await told(first, partner)).text.includes(verified));
  assert.match((await told(first, {})).text, /no \[\] \[\] \[\]/);
  assert.match((await told(first, other)).text, /no \[CN=other\.test\]/);
  assert.match((await told(second, partner)).text, /no \[CN=partner\.test\]/);

  const again = await told(first, { session });
  assert.equal(again.resumed, true);
  assert.ok(again.text.includes(verified), "a resumed session keeps its certificate");
  const elsewhere = await told(second, { session });
  assert.equal(elsewhere.resumed, false);
  assert.match(elsewhere.text, /no \[\] \[\] \[\]/);

  const key = join(lab.folder, "partner.key");
  writeFileSync(key, partner.key);
  const arguments_ = [
    "-connect",
    `127.0.0.1:${starttls}`,
    "-starttls",
    "smtp",
    "-quiet",
    "-cert",
    ca.partner,
    "-key",
    key,
  ];
  const openssl = spawn("openssl", ["s_client", "-crlf", ...arguments_], { stdio: ["pipe", "pipe", "ignore"] });
  let output = "";
  openssl.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  openssl.stdin.write("EHLO openssl.test\n");
  await until("EHLO", () => /^250 \S/m.test(output));
  openssl.stdin.write("MAIL FROM:<a@x.test>\n");
  await until("MAIL", () => output.includes("] ["));
  assert.ok(output.includes(verified), output);
  openssl.stdin.end("QUIT\n");
  await once(openssl, "close");
  await gateway.kill("SIGTERM");
});
