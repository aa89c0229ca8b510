/**
 * DKIM against opendkim (as a milter) and dkimpy, both ways, rsa and ed25519; the resolver against unbound.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { signDkim, signingKey } from "../../src/checks/dkim/sign.ts";
import { verifyDkim } from "../../src/checks/dkim/verify.ts";
import { readMessage } from "../../src/checks/message.ts";
import { budgetWith } from "../../src/config/budget.ts";
import { createResolver } from "../../src/dns/resolver.ts";
import { contextFor } from "../unit/checks/zone.ts";
import { freePort, peer, scratch, start } from "./daemons.ts";

const execute = promisify(execFile);

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const rsaPem = rsa.privateKey.export({ type: "pkcs1", format: "pem" }).toString();
const rsaRecord = `v=DKIM1; k=rsa; p=${rsa.publicKey.export({ type: "spki", format: "der" }).toString("base64")}`;
const ed = generateKeyPairSync("ed25519");
const edPem = ed.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const edRecord = `v=DKIM1; k=ed25519; p=${Buffer.from(ed.publicKey.export({ format: "jwk" }).x!, "base64url").toString("base64")}`;
const zone = {
  "s._domainkey.example.com": { TXT: [rsaRecord] },
  "e._domainkey.example.com": { TXT: [edRecord] },
};

const header: Array<[string, string]> = [
  ["From", "Alice <alice@example.com>"],
  ["To", "bob@example.net"],
  ["Subject", "two  blanks and\n\ta fold"],
  ["Date", "Fri, 20 Nov 2026 10:00:00 +0000"],
  ["Message-ID", "<1@example.com>"],
];
const body = "Hello  World \r\n\r\n.dots and\ttabs\t\r\n\r\n\r\n";

function messageText(extra: Array<[string, string]> = []): string {
  const fields = [...extra, ...header].map(([name, value]) => `${name}: ${value.replace(/\r?\n/g, "\r\n")}\r\n`);
  return `${fields.join("")}\r\n${body}`;
}

async function ours(): Promise<string[]> {
  const message = await readMessage(Buffer.from(messageText()), budgetWith());
  const keys = [signingKey("example.com", "s", rsaPem), signingKey("example.com", "e", edPem)];
  return signDkim(message, keys, { timestamp: Math.floor(Date.now() / 1000) });
}

async function verdicts(text: string): Promise<string[]> {
  const ctx = contextFor(zone, {}, Date.now());
  const results = await verifyDkim(await readMessage(Buffer.from(text, "latin1"), ctx.budget), ctx);
  return results.map(({ algorithm, result, reason }) => `${algorithm} ${result}${reason && `: ${reason}`}`);
}

/** Starts opendkim on a free port with our key in place of DNS. */
async function startOpenDkim(t: TestContext, opendkim: string): Promise<{ port: number; folder: string }> {
  const folder = scratch(t);
  const port = await freePort();
  writeFileSync(join(folder, "key.pem"), rsaPem, { mode: 0o600 });
  writeFileSync(join(folder, "keys"), `s._domainkey.example.com ${rsaRecord}\n`);
  writeFileSync(
    join(folder, "opendkim.conf"),
    [
      `Socket inet:${port}@127.0.0.1`,
      "Mode sv",
      "Domain example.com",
      "Selector s",
      `KeyFile ${folder}/key.pem`,
      "RequireSafeKeys no",
      `TestPublicKeys ${folder}/keys`,
      "AlwaysAddARHeader yes",
      "AuthservID gw.test",
      "Canonicalization relaxed/simple",
      `InternalHosts ${folder}/internal`,
      "Background no",
      "UMask 002",
    ].join("\n"),
  );
  writeFileSync(join(folder, "internal"), "127.0.0.1\n");
  await start(t, opendkim, ["-f", "-x", join(folder, "opendkim.conf")], port);
  return { port, folder };
}

const lua = (text: string) => `"${text.replace(/[\\"]/g, "\\$&").replace(/\r?\n/g, "\\n")}"`;

/** Plays one message to a milter and answers the value that it gave the field `asked`. */
async function play(
  miltertest: string,
  at: { port: number; folder: string },
  client: string,
  fields: Array<[string, string]>,
  asked: string,
): Promise<string> {
  const script = join(at.folder, "play.lua");
  const lines = [
    `conn = mt.connect("inet:${at.port}@127.0.0.1", 40, 0.25)`,
    'if conn == nil then error("connect") end',
    `if mt.conninfo(conn, "host.test", "${client}") ~= nil then error("conninfo") end`,
    'mt.macro(conn, SMFIC_MAIL, "i", "queue-id")',
    'if mt.mailfrom(conn, "alice@example.com") ~= nil then error("mail") end',
    'if mt.rcptto(conn, "bob@example.net") ~= nil then error("rcpt") end',
    ...fields.map(([name, value]) => `if mt.header(conn, ${lua(name)}, ${lua(value)}) ~= nil then error("header") end`),
    'if mt.eoh(conn) ~= nil then error("eoh") end',
    `if mt.bodystring(conn, "${body.replace(/\r\n/g, "\\r\\n").replace(/\t/g, "\\t")}") ~= nil then error("body") end`,
    'if mt.eom(conn) ~= nil then error("eom") end',
    `value = mt.getheader(conn, "${asked}", 0)`,
    'if value == nil then error("no header") end',
    "mt.echo(value)",
    "mt.disconnect(conn)",
  ];
  writeFileSync(script, lines.join("\n"));
  const { stdout } = await execute(miltertest, ["-s", script], { timeout: 20_000 });
  return stdout.replace(/\n$/, "");
}

test("opendkim signs, we verify; we sign, opendkim verifies", async (t) => {
  const opendkim = peer(t, "opendkim");
  const miltertest = peer(t, "miltertest");
  if (opendkim === undefined || miltertest === undefined) return;
  const at = await startOpenDkim(t, opendkim);
  const value = await play(miltertest, at, "127.0.0.1", header, "DKIM-Signature");
  assert.deepEqual(await verdicts(messageText([["DKIM-Signature", value]])), ["rsa-sha256 pass"]);
  const [signature] = await ours();
  const fields: Array<[string, string]> = [["DKIM-Signature", signature!], ...header];
  const results = await play(miltertest, at, "192.0.2.9", fields, "Authentication-Results");
  assert.match(results, /gw\.test;\s+dkim=pass/);
  const changed = fields.map(([name, text]): [string, string] => [name, name === "Subject" ? "other" : text]);
  assert.doesNotMatch(await play(miltertest, at, "192.0.2.9", changed, "Authentication-Results"), /dkim=pass/);
});

const python = "/usr/bin/python3";

/** Whether the system's python has these modules; skips the test, or fails it, when not. */
async function hasModules(t: TestContext, modules: string): Promise<boolean> {
  try {
    await execute(python, ["-c", `import ${modules}`]);
    return true;
  } catch {
    if (process.env.POSTERN_REQUIRE_PEERS === "1") throw new Error(`needs python ${modules}`);
    t.skip(`needs python ${modules}`);
    return false;
  }
}

test("dkimpy signs, we verify; we sign, dkimpy verifies: rsa and ed25519", async (t) => {
  if (!(await hasModules(t, "dkim, nacl"))) return;
  const folder = scratch(t);
  writeFileSync(join(folder, "rsa.pem"), rsaPem);
  writeFileSync(
    join(folder, "ed.key"),
    Buffer.from(ed.privateKey.export({ format: "jwk" }).d!, "base64url").toString("base64"),
  );
  writeFileSync(join(folder, "message"), messageText());
  const sign = [
    "import dkim, sys",
    "m = open(sys.argv[1] + '/message', 'rb').read()",
    "r = dkim.sign(m, b's', b'example.com', open(sys.argv[1] + '/rsa.pem', 'rb').read())",
    "e = dkim.sign(m, b'e', b'example.com', open(sys.argv[1] + '/ed.key', 'rb').read(), signature_algorithm=b'ed25519-sha256')",
    "sys.stdout.buffer.write(r + e + m)",
  ].join("\n");
  const { stdout } = await execute(python, ["-c", sign, folder]);
  assert.deepEqual(await verdicts(stdout), ["rsa-sha256 pass", "ed25519-sha256 pass"]);

  const signatures = (await ours()).map((value): [string, string] => ["DKIM-Signature", value]);
  writeFileSync(join(folder, "signed"), messageText(signatures));
  const verify = [
    "import dkim, sys",
    "keys = {b's._domainkey.example.com.': sys.argv[2].encode(), b'e._domainkey.example.com.': sys.argv[3].encode()}",
    "d = dkim.DKIM(open(sys.argv[1] + '/signed', 'rb').read())",
    "print([d.verify(idx=i, dnsfunc=lambda name, timeout=5: keys.get(name)) for i in (0, 1)])",
  ].join("\n");
  const answer = await execute(python, ["-c", verify, folder, rsaRecord, edRecord]);
  assert.equal(answer.stdout.trim(), "[True, True]");
});

/** Starts unbound without privileges on a free port; `lines` come after the `server:` clause's own. */
async function startUnbound(t: TestContext, unbound: string, folder: string, lines: string[]): Promise<string> {
  const port = await freePort();
  const own = [
    "server:",
    `  directory: "${folder}"`,
    '  username: ""',
    '  chroot: ""',
    '  pidfile: ""',
    "  use-syslog: no",
    "  do-daemonize: no",
    `  interface: 127.0.0.1@${port}`,
  ];
  writeFileSync(join(folder, "unbound.conf"), [...own, ...lines].join("\n"));
  await start(t, unbound, ["-d", "-c", join(folder, "unbound.conf")], port);
  return `127.0.0.1:${port}`;
}

test("the resolver and unbound understand each other", async (t) => {
  const unbound = peer(t, "unbound");
  if (unbound === undefined) return;
  const folder = scratch(t);
  const long = Array.from({ length: 12 }, () => `"${"x".repeat(200)}"`).join(" ");
  const address = await startUnbound(t, unbound, folder, [
    '  module-config: "iterator"',
    '  local-zone: "example.test." static',
    '  local-data: "example.test. 300 IN SOA ns.example.test. admin.example.test. 1 3600 600 86400 120"',
    '  local-data: "example.test. 300 IN A 192.0.2.1"',
    '  local-data: "example.test. 300 IN AAAA 2001:db8::1"',
    '  local-data: "example.test. 300 IN MX 10 mx.example.test."',
    `  local-data: '_25._tcp.example.test. 300 IN TLSA 3 1 1 ${"ab".repeat(32)}'`,
    `  local-data: 'long.example.test. 300 IN TXT ${long}'`,
  ]);
  const resolver = createResolver({ servers: [address], budget: budgetWith() });
  t.after(() => resolver.close());
  assert.deepEqual((await resolver.resolve("Example.test", "A")).records, ["192.0.2.1"]);
  assert.deepEqual((await resolver.resolve("example.test", "AAAA")).records, ["2001:db8::1"]);
  assert.deepEqual((await resolver.resolve("example.test", "MX")).records, [
    { preference: 10, exchange: "mx.example.test" },
  ]);
  const [tlsa] = (await resolver.resolve("_25._tcp.example.test", "TLSA")).records;
  assert.deepEqual([tlsa!.usage, tlsa!.data.length], [3, 32]);
  assert.equal((await resolver.resolve("long.example.test", "TXT")).records[0]!.length, 2_400);
  const missing = await resolver.resolve("missing.example.test", "A");
  assert.deepEqual([missing.nxdomain, missing.ttl], [true, 120]);
});

const signZone = `
import sys, time, dns.dnssec, dns.name, dns.rrset
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
origin = dns.name.from_text("signed.test.")
dnskey = dns.dnssec.make_dnskey(key.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257)
now = time.time()
rows = [
    ("signed.test.", "SOA", "ns.signed.test. a.signed.test. 1 3600 600 86400 60"),
    ("signed.test.", "NS", "ns.signed.test."),
    ("ns.signed.test.", "A", "127.0.0.1"),
    ("mx.signed.test.", "A", "192.0.2.1"),
]
sets = [dns.rrset.from_text(name, 300, "IN", kind, data) for name, kind, data in rows]
sets.append(dns.rrset.from_rdata(origin, 300, dnskey))
with open(sys.argv[1] + "/zone", "w") as zone:
    for rrset in sets:
        rrsig = dns.dnssec.sign(rrset, key, origin, dnskey, inception=now - 3600, expiration=now + 86400)
        print(rrset.to_text(), dns.rrset.from_rdata(rrset.name, 300, rrsig).to_text(), sep="\\n", file=zone)
    print("forged.signed.test. 300 IN A 192.0.2.66", file=zone)
with open(sys.argv[1] + "/anchor", "w") as anchor:
    print("signed.test. IN DNSKEY", dnskey.to_text(), file=anchor)
`;

test("unbound's verdict on DNSSEC is told: AD on a signed answer, SERVFAIL on an unsigned one", async (t) => {
  const unbound = peer(t, "unbound");
  if (unbound === undefined || !(await hasModules(t, "dns.dnssec, cryptography"))) return;
  const folder = scratch(t);
  await execute(python, ["-c", signZone, folder]);
  const address = await startUnbound(t, unbound, folder, [
    '  module-config: "validator iterator"',
    '  local-zone: "test." nodefault',
    `  trust-anchor-file: "${folder}/anchor"`,
    "auth-zone:",
    '  name: "signed.test."',
    `  zonefile: "${folder}/zone"`,
    "  for-downstream: no",
    "  for-upstream: yes",
  ]);
  const resolver = createResolver({ servers: [address], budget: budgetWith() });
  t.after(() => resolver.close());
  const answer = await resolver.resolve("mx.signed.test", "A");
  assert.deepEqual([answer.records, answer.authenticated], [["192.0.2.1"], true]);
  await assert.rejects(resolver.resolve("forged.signed.test", "A"), /rcode 2/);
});
