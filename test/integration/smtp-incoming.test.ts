/** Real clients talk to our reception: swaks, curl, Python's smtplib, nodemailer, openssl, posttls-finger, Postfix. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { createTransport } from "nodemailer";
import { selfSigned } from "../../src/smtp/incoming/selfsigned.ts";
import { type Site, type SiteOptions, withSite } from "../unit/smtp-incoming/site.ts";

const certificates = [selfSigned(["mx.test", "localhost"])];
const withStartTls: SiteOptions = {
  tls: { mode: "starttls", certificates },
  settings: { authSecure: ["PLAIN", "LOGIN"], authPlain: ["CRAM-MD5"] },
  handler: () => ({
    onAuth: ({ username, password, verify }) => ({
      ok: password === "secret" || (verify?.({ scheme: "plain", value: "secret" }) ?? false),
      user: username,
    }),
  }),
};

/** False when the program is absent: the test is skipped, or fails where peers are required. */
function needs(t: TestContext, path: string): boolean {
  if (existsSync(path)) return true;
  if (process.env.POSTERN_REQUIRE_PEERS === "1") assert.fail(`needs ${path}`);
  t.skip(`needs ${path}`);
  return false;
}

interface Finished {
  code: number | null;
  output: string;
}

function runProgram(command: string, args: string[], input = ""): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { timeout: 20_000 });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output }));
    child.stdin.on("error", () => {}); // the program may end without reading it
    child.stdin.end(input);
  });
}

async function arrived(site: Site, count: number): Promise<void> {
  for (let i = 0; i < 400 && site.received.length < count; i++) await new Promise((resolve) => setTimeout(resolve, 25));
  assert.equal(site.received.length, count);
}

test("swaks: STARTTLS, AUTH PLAIN and CRAM-MD5, pipelining", async (t) => {
  if (!needs(t, "/usr/bin/swaks")) return;
  await withSite(withStartTls, async (site) => {
    const common = ["--server", `127.0.0.1:${site.port}`, "--from", "a@x.test", "--to", "b@y.test,c@y.test"];
    const user = ["--auth-user", "me@x.test", "--auth-password", "secret"];
    const secure = await runProgram("swaks", [...common, "--tls", "--auth", "PLAIN", ...user]);
    assert.equal(secure.code, 0, secure.output);
    assert.equal(site.received[0]?.client.protocol, "ESMTPSA");
    assert.equal(site.received[0]?.envelope.rcptTo.length, 2);
    const plain = await runProgram("swaks", [...common, "--auth", "CRAM-MD5", ...user, "--pipeline"]);
    assert.equal(plain.code, 0, plain.output);
    assert.equal(site.received[1]?.client.protocol, "ESMTPA");
    const wrong = await runProgram("swaks", [
      ...common,
      "--tls",
      "--auth",
      "PLAIN",
      "--auth-user",
      "x",
      "--auth-password",
      "y",
    ]);
    assert.match(wrong.output, /535 5\.7\.8/);
  });
});

test("curl: upload over STARTTLS with AUTH and SMTPUTF8", async (t) => {
  if (!needs(t, "/usr/bin/curl")) return;
  await withSite(withStartTls, async (site) => {
    const mail = "Subject: curl\r\n\r\n.dot\r\nend\r\n";
    const args = [
      "-sS",
      "--url",
      `smtp://localhost:${site.port}`,
      "--ssl-reqd",
      "-k",
      "--user",
      "me:secret",
      "-T",
      "-",
    ];
    const sent = await runProgram("curl", [...args, "--mail-from", "ä@x.test", "--mail-rcpt", "b@y.test"], mail);
    assert.equal(sent.code, 0, sent.output);
    assert.equal(site.received[0]?.content, mail);
    assert.equal(site.received[0]?.envelope.mailFrom, "ä@x.test");
  });
});

const pythonClient = `
import smtplib, ssl, sys
from email.message import EmailMessage
port = int(sys.argv[1])
context = ssl._create_unverified_context()
with smtplib.SMTP("127.0.0.1", port) as client:
    client.starttls(context=context)
    client.login("me", "secret")
    message = EmailMessage()
    message["From"] = "jürgen@x.test"
    message["To"] = "b@y.test"
    message["Subject"] = "grün"
    message.set_content("grüße\\n.\\n..\\n")
    client.send_message(message)
    try:
        client.sendmail("a@x.test", ["b@y.test"], "Subject: x\\n\\nx", mail_options=["FOO=bar"])
    except smtplib.SMTPResponseException as error:
        assert error.smtp_code == 555, error
    client.docmd("RSET")
    client.sendmail("a@x.test", ["b@y.test"], "Subject: dsn\\n\\nx", mail_options=["RET=HDRS", "ENVID=q+2B1"],
                    rcpt_options=["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;b@y.test"])
`;

test("Python's smtplib: STARTTLS, LOGIN, SMTPUTF8, DSN", async (t) => {
  if (!needs(t, "/usr/bin/python3")) return;
  await withSite(withStartTls, async (site) => {
    const result = await runProgram("/usr/bin/python3", ["-c", pythonClient, String(site.port)]);
    assert.equal(result.code, 0, result.output);
    const [utf8, dsn] = site.received;
    assert.equal(utf8?.envelope.smtpUtf8, true);
    assert.equal(utf8?.client.protocol, "UTF8SMTPSA");
    assert.match(Buffer.from(utf8!.content, "latin1").toString(), /Subject: grün\r\n[\s\S]*\r\n\.\r\n\.\.\r\n$/);
    assert.equal(dsn?.envelope.envid, "q+1");
    assert.deepEqual(dsn?.envelope.rcptTo[0], {
      address: "b@y.test",
      notify: ["SUCCESS", "DELAY"],
      orcpt: "rfc822;b@y.test",
    });
  });
});

test("Python's smtplib as an LMTP client", async (t) => {
  if (!needs(t, "/usr/bin/python3")) return;
  const script = `
import smtplib, sys
with smtplib.LMTP("127.0.0.1", int(sys.argv[1])) as client:
    client.sendmail("a@x.test", ["b@y.test"], "Subject: x\\n\\nx")
`;
  await withSite({ profile: "lmtp" }, async (site) => {
    const result = await runProgram("/usr/bin/python3", ["-c", script, String(site.port)]);
    assert.equal(result.code, 0, result.output);
    assert.equal(site.received[0]?.client.protocol, "LMTP");
  });
});

test("nodemailer: STARTTLS, AUTH LOGIN, pool, DSN", () =>
  withSite(withStartTls, async (site) => {
    const transport = createTransport({
      host: "127.0.0.1",
      port: site.port,
      pool: true,
      requireTLS: true,
      tls: { rejectUnauthorized: false },
      auth: { user: "me", pass: "secret", type: "LOGIN" },
    });
    for (let i = 0; i < 3; i++) {
      await transport.sendMail({
        from: "a@x.test",
        to: "b@y.test",
        subject: `n ${i}`,
        text: ".\n..\nä",
        dsn: { id: "q1", return: "headers", notify: "success", recipient: "a@x.test" },
      });
    }
    transport.close();
    assert.equal(site.received.length, 3);
    assert.equal(site.received[0]?.envelope.envid, "q1");
    assert.equal(new Set(site.received.map(({ client }) => client.sessionId)).size, 1);
  }));

test("openssl: TLS 1.2 and 1.3 only, sessions resume", async (t) => {
  if (!needs(t, "/usr/bin/openssl")) return;
  await withSite(withStartTls, async (site) => {
    const connect = (...args: string[]): Promise<Finished> =>
      runProgram(
        "openssl",
        ["s_client", "-connect", `127.0.0.1:${site.port}`, "-starttls", "smtp", ...args],
        "QUIT\r\n",
      );
    for (const version of ["-tls1_2", "-tls1_3"]) {
      assert.match((await connect(version)).output, /Cipher is (?:TLS_|ECDHE-)/, version);
    }
    for (const version of ["-tls1", "-tls1_1"]) {
      const { output } = await connect(version, "-cipher", "ALL:@SECLEVEL=0");
      assert.doesNotMatch(output, /Cipher is (?!\(NONE\))/, version);
    }
    const weak = await connect("-tls1_2", "-cipher", "AES128-SHA:AES256-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0");
    assert.doesNotMatch(weak.output, /Cipher is (?!\(NONE\))/);
    assert.match((await connect("-tls1_2", "-reconnect")).output, /^Reused, TLSv1\.2/m);
  });
});

test("posttls-finger is content", async (t) => {
  if (!needs(t, "/usr/sbin/posttls-finger")) return;
  await withSite(withStartTls, async (site) => {
    const args = ["-c", "-l", "encrypt", "-L", "summary", `[127.0.0.1]:${site.port}`];
    const { output } = await runProgram("/usr/sbin/posttls-finger", args);
    assert.match(output, /Untrusted TLS connection established to 127\.0\.0\.1.*: TLSv1\.3/);
  });
});

/** A Postfix of our own in a scratch folder, which relays everything to `port`. */
async function postfixConfig(folder: string, port: number): Promise<void> {
  await chmod(folder, 0o755); // its daemons run as user postfix
  await mkdir(join(folder, "queue"));
  await mkdir(join(folder, "data"));
  await chown(join(folder, "data"), await postfixUser(), 0);
  const main = {
    compatibility_level: "3.6",
    queue_directory: join(folder, "queue"),
    data_directory: join(folder, "data"),
    myhostname: "client.test",
    mydestination: "",
    inet_interfaces: "127.0.0.1",
    relayhost: `[127.0.0.1]:${port}`,
    smtp_tls_security_level: "encrypt",
    smtputf8_enable: "yes",
    maillog_file: join(folder, "data", "maillog"),
    maillog_file_prefixes: folder,
    alias_maps: "",
  };
  const lines = Object.entries(main).map(([name, value]) => `${name} = ${value}\n`);
  await writeFile(join(folder, "main.cf"), lines.join(""));
  const services = [
    "pickup unix n - n 60 1 pickup",
    "cleanup unix n - n - 0 cleanup",
    "qmgr unix n - n 300 1 qmgr",
    "rewrite unix - - n - - trivial-rewrite",
    "bounce unix - - n - 0 bounce",
    "defer unix - - n - 0 bounce",
    "trace unix - - n - 0 bounce",
    "smtp unix - - n - - smtp",
    "error unix - - n - - error",
    "tlsmgr unix - - n 1000? 1 tlsmgr",
    "scache unix - - n - 1 scache",
    "postlog unix-dgram n - n - 1 postlogd",
  ];
  await writeFile(join(folder, "master.cf"), `${services.join("\n")}\n`);
}

async function postfixUser(): Promise<number> {
  const { output } = await runProgram("id", ["-u", "postfix"]);
  return Number(output);
}

test("Postfix delivers to us: pipelining, STARTTLS, DSN, several recipients", async (t) => {
  if (!needs(t, "/usr/sbin/postfix")) return;
  if (process.getuid?.() !== 0) {
    t.skip("needs root: Postfix starts as root only");
    return;
  }
  const folder = await mkdtemp(join(tmpdir(), "postern-postfix-"));
  await withSite(withStartTls, async (site) => {
    try {
      await postfixConfig(folder, site.port);
      const started = await runProgram("postfix", ["-c", folder, "start"]);
      assert.equal(started.code, 0, started.output);
      const mail = "From: a@x.test\nTo: b@y.test\nSubject: from postfix\n\n.\n..\nlast\n";
      const args = ["-C", folder, "-f", "a@x.test", "-i", "-N", "success,delay", "b@y.test", "c@y.test"];
      const sent = await runProgram("/usr/sbin/sendmail", args, mail);
      assert.equal(sent.code, 0, sent.output);
      await arrived(site, 1);
      const [{ envelope, client, content } = assert.fail()] = site.received;
      assert.equal(client.protocol, "ESMTPS");
      assert.deepEqual(
        envelope.rcptTo.map(({ address, notify }) => [address, notify]),
        [
          ["b@y.test", ["SUCCESS", "DELAY"]],
          ["c@y.test", ["SUCCESS", "DELAY"]],
        ],
      );
      assert.match(content, /\r\n\r\n\.\r\n\.\.\r\nlast\r\n$/);
    } finally {
      await runProgram("postfix", ["-c", folder, "stop"]);
      await rm(folder, { recursive: true, force: true });
    }
  });
});
