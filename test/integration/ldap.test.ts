/**
 * A real slapd as directory: its entries are accounts of a local domain and log in by a bind; their host attribute
 * leads a front end to the back end; when it is gone, nobody is refused for good and nothing is lost.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { budgetWith } from "../../src/config/budget.ts";
import { LdapDirectory, LdapError } from "../../src/directory/ldap.ts";
import { peer, scratch, start } from "./daemons.ts";
import { dialogue, dumped, freePort, type Gateway, Lab, until } from "./lab.ts";

const lab = new Lab();
after(() => lab.close());

interface Slapd {
  url: string;
  stop(): Promise<void>;
}

const person = (name: string, more: string[]) =>
  [
    `dn: cn=${name},dc=dir,dc=test`,
    "objectClass: person",
    "objectClass: extensibleObject",
    `cn: ${name}`,
    `sn: ${name}`,
  ]
    .concat(more)
    .join("\n");

/** slapd with these people; each has the password "secret". */
async function startSlapd(t: TestContext, people: Record<string, string[]>): Promise<Slapd | undefined> {
  const [slapd, slapadd] = [peer(t, "slapd"), peer(t, "slapadd")];
  if (slapd === undefined || slapadd === undefined) return undefined;
  const folder = scratch(t);
  mkdirSync(join(folder, "db"));
  writeFileSync(
    join(folder, "slapd.conf"),
    `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
attributetype ( 1.3.6.1.4.1.99999.1 NAME 'mailHost' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.99999.2 NAME 'mailAlternateAddress' EQUALITY caseIgnoreIA5Match SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 )
pidfile ${folder}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "dc=dir,dc=test"
rootdn "cn=admin,dc=dir,dc=test"
rootpw root
directory ${folder}/db
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=reader,dc=dir,dc=test" read by * none
`,
  );
  const entries = [
    "dn: dc=dir,dc=test\nobjectClass: dcObject\nobjectClass: organization\no: test\ndc: dir",
    person("reader", ["userPassword: read"]),
    ...Object.entries(people).map(([name, more]) => person(name, ["userPassword: secret", ...more])),
  ];
  writeFileSync(join(folder, "people.ldif"), `${entries.join("\n\n")}\n`);
  const config = ["-f", join(folder, "slapd.conf")];
  execFileSync(slapadd, [...config, "-l", join(folder, "people.ldif")], { stdio: "pipe" });
  const port = await freePort();
  const child = await start(t, slapd, ["-d", "0", "-h", `ldap://127.0.0.1:${port}`, ...config], port);
  return {
    url: `ldap://127.0.0.1:${port}`,
    stop: async () => {
      const ended = new Promise((done) => child.once("exit", done));
      child.kill("SIGKILL");
      await ended;
    },
  };
}

const reader = { bindDn: "cn=reader,dc=dir,dc=test", password: "read", base: "dc=dir,dc=test" };

async function say(gateway: Gateway, ...lines: string[]): Promise<string> {
  const client = await dialogue(gateway.port);
  await client.reply();
  let reply = "";
  for (const line of ["EHLO client.test", ...lines]) {
    reply = await client.say(line);
    if (/^[45]/.test(reply)) break;
  }
  client.close();
  return reply;
}

const mail = (to: string, subject: string, from = "x@sender.test") => [
  `MAIL FROM:<${from}>`,
  `RCPT TO:<${to}>`,
  "DATA",
  `From: ${from}\r\nSubject: ${subject}\r\n\r\nhello\r\n.`,
];
const logIn = (user: string, password: string) =>
  `AUTH PLAIN ${Buffer.from(`\0${user}\0${password}`).toString("base64")}`;

test("accounts, passwords and back ends from slapd; without it mail waits", { timeout: 180_000 }, async (t) => {
  const [back, world] = [await lab.sink(), await lab.sink()];
  const slapd = await startSlapd(t, {
    ann: ["mail: ann@local.test", "mailAlternateAddress: ann.smith@local.test"],
    bob: ["mail: bob@front.test", `mailHost: 127.0.0.1:${back.port}`],
    odd: ["mail: odd@local.test"],
    even: ["mail: odd@local.test"],
  });
  if (slapd === undefined) return;
  const gateway = await lab.gateway({
    domains: { local: ["local.test"], frontEnd: {} },
    ldap: { ...reader, url: slapd.url, userMap: true, timeout: "2s" },
    relay: { trustedNetworks: [], smartHost: `[127.0.0.1]:${world.port}` },
    smtp: { plainTextAuth: true },
    queue: { firstRetry: "1s", maxRetry: "1s" },
    workers: 1,
  });
  assert.match(await say(gateway, ...mail("Ann@local.test", "to ann")), /^250/);
  assert.match(await say(gateway, ...mail("ann.smith@local.test", "to her other name")), /^250/);
  assert.match(await say(gateway, ...mail("ann+lists@local.test", "to a detail")), /^250/);
  assert.match(await say(gateway, ...mail("nobody@local.test", "no")), /^550 5\.1\.1/);
  assert.match(await say(gateway, ...mail("*@local.test", "no")), /^550 5\.1\.1/, "no wildcard reaches the directory");
  assert.match(await say(gateway, ...mail("odd@local.test", "no")), /^451/, "two entries: nothing is decided");
  const stored = () => gateway.postern("store", "list", "ann@local.test").out;
  await until("her mail is stored", () => stored().match(/to (?:ann|her other name|a detail)/g)?.length === 3);

  assert.match(await say(gateway, logIn("ann@local.test", "wrong")), /^535/);
  assert.match(await say(gateway, logIn("ann@local.test", "")), /^5/);
  const ours = mail("z@world.test", "outward", "ann@local.test");
  assert.match(await say(gateway, logIn("ann.smith@local.test", "secret"), ...ours), /^250/);
  await until("it left", () => dumped(world.dump).find((text) => text.includes("Subject: outward")));

  // Anyone may write to bob, whom the directory gives a back end; no other address of his domain is ours.
  assert.match(await say(gateway, ...mail("bob@front.test", "to bob")), /^250/);
  await until("his back end has it", () => dumped(back.dump).find((text) => text.includes("Subject: to bob")));
  assert.match(await say(gateway, ...mail("carl@front.test", "no")), /^550 5\.7\.1/);

  await slapd.stop();
  assert.match(await say(gateway, ...mail("someone@local.test", "later")), /^451/, "not refused for good");
  assert.match(await say(gateway, logIn("someone@local.test", "secret")), /^4/);
  await gateway.kill("SIGTERM");
});

test("the client of the directory: kept answers, a server that comes back, one that is gone", {
  timeout: 90_000,
}, async (t) => {
  const slapd = await startSlapd(t, {
    ann: ["mail: ann@local.test"],
    bob: ["mail: bob@local.test", "mailHost: b.test"],
  });
  if (slapd === undefined) return;
  let now = 0;
  const directory = new LdapDirectory(
    {
      ...{ ...reader, url: slapd.url, startTls: false, mailAttributes: ["mail"], hostAttribute: "mailHost" },
      ...{ timeoutMs: 2_000, now: () => now },
    },
    budgetWith({ ldapEntries: 2 }),
  );
  t.after(() => directory.close());
  assert.equal(await directory.find("ANN@local.test"), "ann@local.test");
  assert.equal(await directory.hostOf("ann@local.test"), undefined);
  assert.equal(await directory.hostOf("bob@local.test"), "b.test");
  assert.equal(await directory.find("(mail=*)"), undefined, "an address is no filter");
  assert.deepEqual(await Promise.all(["secret", "wrong", ""].map((one) => directory.verify("bob@local.test", one))), [
    true,
    false,
    false,
  ]);
  directory.close();
  assert.equal(await directory.find("ann@local.test"), "ann@local.test", "a new connection is made");
  await slapd.stop();
  assert.equal(await directory.find("ann@local.test"), "ann@local.test", "kept");
  now += 61_000;
  await assert.rejects(directory.find("ann@local.test"), LdapError);
  await assert.rejects(directory.verify("bob@local.test", "secret"), LdapError);
});
