/** ManageSieve: words from octets, the session's replies, and a client over TLS. */
import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";
import fc from "fast-check";
import { ProtocolError, readCommand, written } from "../../../src/sieve/managesieve/protocol.ts";
import { ManageSieveServer } from "../../../src/sieve/managesieve/server.ts";
import { MemoryScripts } from "../../../src/sieve/managesieve/storage.ts";

const limits = { command: 200, words: 4 };
const words = (text: string) => readCommand(Buffer.from(text), limits)?.words.map((word) => word.text);

test("words", () => {
  deepEqual(words('PUTSCRIPT "a\\"b" {3+}\r\nx\r\n\r\n'), ["PUTSCRIPT", 'a"b', "x\r\n"]);
  equal(words('PUTSCRIPT "a" {5+}\r\nx'), undefined);
  equal(words("NOOP"), undefined);
  deepEqual(words("\r\n"), []);
  for (const bad of [
    'a "x\ny"\r\n',
    "a {3}\r\nabc\r\n",
    "a {999+}\r\n",
    "a b c d e\r\n",
    "x".repeat(300),
    "a \x01\r\n",
  ]) {
    throws(() => words(bad), ProtocolError, bad);
  }
  equal(written('a"b'), '"a\\"b"');
  equal(written("a\r\nb"), "{4}\r\na\r\nb");
});

test("any octets give words, patience or a ProtocolError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      try {
        const command = readCommand(Buffer.from(bytes), limits);
        ok(command === undefined || command.length <= bytes.length);
      } catch (error) {
        ok(error instanceof ProtocolError);
      }
    }),
    { numRuns: 500, seed: 4 },
  );
});

/** Sends and waits for the tagged end of the reply. */
function talk(socket: Socket, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const read = (chunk: Buffer) => {
      text += chunk;
      if (!/^(?:OK|NO|BYE)\b.*\r\n$/m.test(text) || !text.endsWith("\r\n")) return;
      socket.off("data", read);
      socket.off("error", reject);
      resolve(text);
    };
    socket.on("data", read);
    socket.once("error", reject);
    if (command !== "") socket.write(command);
  });
}

test("upload, check, activate and read back over TLS", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "postern-managesieve-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  execFileSync(
    "openssl",
    [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-days",
      "2",
      "-subj",
      "/CN=localhost",
      "-keyout",
      key,
      "-out",
      cert,
    ],
    { stdio: "ignore" },
  );
  const server = new ManageSieveServer({
    host: "127.0.0.1",
    port: 0,
    storage: new MemoryScripts(),
    authenticate: async (user, password) => {
      if (user === "busy") throw new Error("too many at once");
      return user === "user" && password === "secret" ? user : undefined;
    },
    tls: { key: readFileSync(key), cert: readFileSync(cert) },
    scripts: 2,
  });
  const { port } = await server.listen();
  t.after(() => server.close());
  const plain = connect(port, "127.0.0.1");
  t.after(() => plain.destroy());
  match(await talk(plain, ""), /"SASL" ""\r\n[\s\S]*"STARTTLS"\r\nOK/);
  match(await talk(plain, 'AUTHENTICATE "PLAIN" "AHVzZXIAc2VjcmV0"\r\n'), /^NO \(ENCRYPT-NEEDED\)/);
  match(await talk(plain, "LISTSCRIPTS\r\n"), /^NO "authenticate first"/);
  match(await talk(plain, "STARTTLS\r\n"), /^OK/);
  const tls = connectTls({ socket: plain, rejectUnauthorized: false });
  match(await talk(tls, ""), /"SASL" "PLAIN"/);
  match(await talk(tls, 'AUTHENTICATE "PLAIN" "AHVzZXIAd3Jvbmc="\r\n'), /^NO/);
  match(await talk(tls, 'AUTHENTICATE "PLAIN" "AGJ1c3kAeA=="\r\n'), /^NO \(TRYLATER\)/);
  match(await talk(tls, 'AUTHENTICATE "PLAIN" "AHVzZXIAc2VjcmV0"\r\n'), /^OK/);
  match(await talk(tls, 'CHECKSCRIPT "fileinto \\"a\\";"\r\n'), /^NO "line 1: error: unknown command 'fileinto'/);
  const script = 'require "fileinto";\r\nfileinto "a";\r\n';
  equal(await talk(tls, `PUTSCRIPT "mine" {${script.length}+}\r\n${script}\r\n`), "OK\r\n");
  match(await talk(tls, 'PUTSCRIPT "bad" "frop;"\r\n'), /^NO/);
  match(await talk(tls, 'PUTSCRIPT "../x" "keep;"\r\n'), /^NO "bad script name"/);
  equal(await talk(tls, 'SETACTIVE "mine"\r\n'), "OK\r\n");
  equal(await talk(tls, "LISTSCRIPTS\r\n"), '"mine" ACTIVE\r\nOK\r\n');
  equal(await talk(tls, 'GETSCRIPT "mine"\r\n'), `{${script.length}}\r\n${script}\r\nOK\r\n`);
  match(await talk(tls, 'DELETESCRIPT "mine"\r\n'), /^NO \(ACTIVE\)/);
  equal(await talk(tls, 'RENAMESCRIPT "mine" "other"\r\n'), "OK\r\n");
  equal(await talk(tls, "LISTSCRIPTS\r\n"), '"other" ACTIVE\r\nOK\r\n');
  equal(await talk(tls, 'PUTSCRIPT "second" "keep;"\r\n'), "OK\r\n");
  match(await talk(tls, 'PUTSCRIPT "third" "keep;"\r\n'), /^NO \(QUOTA\/MAXSCRIPTS\)/);
  match(await talk(tls, 'HAVESPACE "x" 999999999\r\n'), /^NO \(QUOTA\/MAXSIZE\)/);
  match(await talk(tls, 'GETSCRIPT "none"\r\n'), /^NO \(NONEXISTENT\)/);
  match(await talk(tls, 'NOOP "tag"\r\n'), /^OK \(TAG "tag"\)/);
  match(await talk(tls, "LOGOUT\r\n"), /^OK "Bye"/);
});
