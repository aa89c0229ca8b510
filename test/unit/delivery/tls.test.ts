/** TLS of outgoing connections: opportunistic, required, MTA-STS, DANE, REQUIRETLS, on real sockets. */
import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import type { DelivererOptions } from "../../../src/delivery/deliverer.ts";
import { StsPolicies } from "../../../src/delivery/tls/mta-sts.ts";
import { parseStsPolicy, parseStsRecord, parseTlsRptRecord, stsAllows } from "../../../src/delivery/tls/records.ts";
import { TlsResults, tlsReport, tlsReportMail } from "../../../src/delivery/tls/report.ts";
import type { RecordData } from "../../../src/dns/types.ts";
import type { Envelope } from "../../../src/message/envelope.ts";
import type { DeliveryResult } from "../../../src/queue/types.ts";
import { type Certificate, makePki } from "./certificates.ts";
import { bodyOf, delivererWith, messageTo, resolverOf, sample } from "./fixtures.ts";
import { type Script, startNextHop } from "./next-hop-server.ts";

const pki = makePki();
const skip = pki ? false : "needs openssl";
const good = pki?.issue("mx.y.example") as Certificate;
const other = pki?.issue("elsewhere.example") as Certificate;

interface Zone {
  txt?: string;
  tlsa?: Array<RecordData["TLSA"]>;
  tlsaFails?: boolean;
  secure?: boolean;
}

function zoneFor(port: number, zone: Zone) {
  const insecure = !zone.secure;
  return resolverOf({
    "y.example": { MX: [{ preference: 10, exchange: "mx.y.example" }], insecure },
    "mx.y.example": { A: ["127.0.0.1"], insecure },
    [`_${port}._tcp.mx.y.example`]: { TLSA: zone.tlsa ?? [], insecure, fails: zone.tlsaFails ?? false },
    "_mta-sts.y.example": { TXT: zone.txt ? [zone.txt] : [] },
    "mta-sts.y.example": { A: ["127.0.0.1"] },
  });
}

async function deliverTo(
  script: Script,
  options: Partial<DelivererOptions> = {},
  zone: Zone = {},
  envelope: Partial<Envelope> = {},
): Promise<{ result: DeliveryResult; commands: string[]; sessions: number; fallbacks: number }> {
  const hop = await startNextHop(script);
  const deliverer = delivererWith({
    resolver: zoneFor(hop.port, zone),
    allowSpecialAddresses: true,
    relayPolicy: async () => ({ route: { host: "", port: hop.port }, origin: "test" }),
    timeouts: { greeting: 2_000, command: 2_000 },
    tlsSettings: { ca: [pki!.ca] },
    ...options,
  });
  const message = messageTo(["b@y.example"], envelope);
  const [result] = await deliverer.deliver(message, message.recipients, bodyOf(sample));
  const { tlsFallbacks: fallbacks } = deliverer.counters;
  deliverer.close();
  await hop.close();
  return { result: result!, commands: hop.commands, sessions: hop.sessions, fallbacks };
}

test("opportunistic: TLS with any certificate", { skip }, async () => {
  const { result, commands } = await deliverTo({ tls: other });
  assert.equal(result.kind, "relayed");
  assert.deepEqual(commands.slice(0, 3), ["EHLO gw.test", "STARTTLS", "EHLO gw.test"]);
});

test("opportunistic: a failed handshake is done over in clear text, and counted", { skip }, async () => {
  const script: Script = {
    extensions: ["STARTTLS"],
    answer: (line) => (line === "STARTTLS" ? "220 go\r\nnot TLS\r\n" : undefined),
  };
  const { result, sessions, fallbacks } = await deliverTo(script);
  assert.equal(result.kind, "relayed", result.outcome.text);
  assert.equal(sessions, 2);
  assert.equal(fallbacks, 1);
});

test("required: bad certificate, no STARTTLS, injection before the handshake", { skip }, async () => {
  const tls = { tls: "required" } as const;
  assert.match((await deliverTo({ tls: other }, tls)).result.outcome.text, /certificate refused/);
  assert.match((await deliverTo({}, tls)).result.outcome.text, /does not offer STARTTLS/);
  const injecting: Script = {
    extensions: ["STARTTLS"],
    answer: (line) => (line === "STARTTLS" ? "220 go\r\n250 half" : undefined),
  };
  const { result } = await deliverTo(injecting, tls);
  assert.equal(result.kind, "deferred");
  assert.match(result.outcome.text, /before the TLS handshake/);
  assert.equal((await deliverTo({ tls: good }, tls)).result.kind, "relayed");
});

test("a host that changes its mind after STARTTLS leaves the mail waiting", { skip }, async () => {
  let hellos = 0;
  const { result } = await deliverTo({
    tls: good,
    answer: (line) => (line.startsWith("EHLO") && ++hellos === 2 ? "421 4.7.0 not you\r\n" : undefined),
  });
  assert.equal(result.kind, "deferred");
  assert.match(result.outcome.text, /not you/);
});

test("TLS versions of the route are the ones offered", { skip }, async () => {
  const hop = await startNextHop({ tls: good });
  const deliverer = delivererWith({
    relayPolicy: async () => ({
      route: { host: "[127.0.0.1]", port: hop.port, startTls: true, tlsVersions: "tls12" },
      origin: "t",
    }),
  });
  const message = messageTo(["b@y.example"]);
  const [result] = await deliverer.deliver(message, message.recipients, bodyOf(sample));
  assert.equal(result!.kind, "relayed");
  assert.deepEqual(hop.tlsVersions, ["TLSv1.2"]);
  deliverer.close();
  await hop.close();
});

async function policyHost(
  text: string,
  headers: Record<string, string> = { "content-type": "text/plain" },
  status = 200,
) {
  const certificate = pki!.issue("mta-sts.y.example");
  const state = { requests: 0, port: 0, close: async () => {} };
  const server = createServer(certificate, (request, response) => {
    state.requests++;
    assert.equal(request.url, "/.well-known/mta-sts.txt");
    response.writeHead(status, headers).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  state.port = (server.address() as AddressInfo).port;
  state.close = async () => {
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  return state;
}

const record = "v=STSv1; id=1;";

test("MTA-STS enforce: verified TLS to listed hosts only", { skip }, async () => {
  const listed = await policyHost("version: STSv1\nmode: enforce\nmx: *.y.example\nmax_age: 86400\n");
  const settings = { tlsSettings: { ca: [pki!.ca], mtaSts: true, stsPort: listed.port } };
  assert.equal((await deliverTo({ tls: good }, settings, { txt: record })).result.kind, "relayed");
  const bad = await deliverTo({ tls: other }, settings, { txt: record });
  assert.equal(bad.result.kind, "deferred");
  assert.ok(!bad.commands.some((line) => line.startsWith("MAIL")), "nothing was sent");
  assert.equal((await deliverTo({}, settings, { txt: record })).result.kind, "deferred");
  await listed.close();
  const unlisted = await policyHost("version: STSv1\nmode: enforce\nmx: mail.other.example\nmax_age: 86400\n");
  const strict = { tlsSettings: { ca: [pki!.ca], mtaSts: true, stsPort: unlisted.port } };
  const { result, sessions } = await deliverTo({ tls: good }, strict, { txt: record });
  assert.match(result.outcome.text, /not in the MTA-STS policy/);
  assert.equal(sessions, 0);
  await unlisted.close();
});

test("MTA-STS testing: failures are counted and do not hinder", { skip }, async () => {
  const host = await policyHost("version: STSv1\nmode: testing\nmx: mx.y.example\nmax_age: 86400\n");
  const rows: string[] = [];
  const reports = new TlsResults({ count: (_domain, _about, row) => rows.push(row) });
  const tlsSettings = { ca: [pki!.ca], mtaSts: true, stsPort: host.port, reports };
  assert.equal((await deliverTo({ tls: other }, { tlsSettings }, { txt: record })).result.kind, "relayed");
  const strict = await deliverTo(
    { tls: other, extensions: ["REQUIRETLS"] },
    { tlsSettings },
    { txt: record },
    { requireTls: true },
  );
  assert.equal(strict.result.outcome.enhanced, "5.7.10", "watching is not verifying");
  await host.close();
  const day = { domain: "y.example", about: "", begins: 0, ends: 86_400_000 };
  const reporter = { organization: "gw.test", contact: "postmaster@gw.test" };
  const report = tlsReport({ ...day, rows: rows.map((row) => ({ row, count: 1 })) }, reporter);
  assert.deepEqual(Object.values(report["date-range"]), ["1970-01-01T00:00:00Z", "1970-01-01T23:59:59Z"]);
  const [policy] = report.policies as Array<{ "failure-details": Array<{ "result-type": string }> }>;
  assert.equal(policy!["failure-details"][0]!["result-type"], "certificate-host-mismatch");
  const mail = tlsReportMail(report, {
    submitter: "gw.test",
    domain: "y.example",
    from: "a@gw.test",
    to: "b@y.example",
    date: "now",
  });
  assert.ok(mail.split("\r\n").every((line) => !line.includes("\n") && line.length < 998));
});

test("MTA-STS: policies are kept, redirects, wrong types and long files are no policy", { skip }, async () => {
  let now = 1_000_000;
  const host = await policyHost("version: STSv1\nmode: enforce\nmx: mx.y.example\nmax_age: 100\n");
  const settings = { budget: budgetWith(), ca: [pki!.ca], port: host.port, now: () => now };
  const zone: Zone = { txt: record };
  const sts = new StsPolicies({
    ...settings,
    resolver: { resolve: (name, type) => zoneFor(25, zone).resolve(name, type), close() {} },
  });
  assert.equal((await sts.policyFor("y.example"))?.mode, "enforce");
  assert.equal((await sts.policyFor("y.example"))?.mode, "enforce");
  assert.equal(host.requests, 1, "kept by id");
  zone.txt = "v=STSv1; id=2;";
  await sts.policyFor("y.example");
  assert.equal(host.requests, 2, "fetched anew when the id changes");
  await host.close();
  zone.txt = "v=STSv1; id=3;";
  assert.equal((await sts.policyFor("y.example"))?.mode, "enforce", "in force while max_age lasts");
  now += 200_000;
  assert.equal(await sts.policyFor("y.example"), undefined);
  const long = "version: STSv1\nmode: enforce\nmx: mx.y.example\nmax_age: 100\n";
  for (const args of [
    [long, { "content-type": "text/html" }, 200],
    [long, { location: "https://elsewhere.example/", "content-type": "text/plain" }, 301],
    [long + "x: y\n".repeat(20_000), { "content-type": "text/plain" }, 200],
  ] as Array<Parameters<typeof policyHost>>) {
    const odd = await policyHost(...args);
    const fresh = new StsPolicies({ ...settings, port: odd.port, resolver: zoneFor(25, { txt: record }) });
    assert.equal(await fresh.policyFor("y.example"), undefined);
    await odd.close();
  }
});

test("MTA-STS: policies outlive the process in shared state", { skip }, async () => {
  const host = await policyHost("version: STSv1\nmode: enforce\nmx: mx.y.example\nmax_age: 100\n");
  const kept = new Map<string, { value: string; ttlMs: number }>();
  const state = {
    get: async (namespace: string, key: string) => kept.get(`${namespace} ${key}`)?.value,
    set: async (namespace: string, key: string, value: string, ttlMs: number) => {
      kept.set(`${namespace} ${key}`, { value, ttlMs });
    },
  };
  let now = 1_000_000;
  const open = (zone: Zone) =>
    new StsPolicies({
      budget: budgetWith(),
      ca: [pki!.ca],
      port: host.port,
      state,
      now: () => now,
      resolver: zoneFor(25, zone),
    });
  assert.equal((await open({ txt: record }).policyFor("y.example"))?.mode, "enforce");
  assert.equal(kept.get("mta-sts y.example")?.ttlMs, 100_000);
  assert.equal((await open({}).policyFor("y.example"))?.mode, "enforce", "without DNS, after a restart");
  assert.equal((await open({ txt: record }).policyFor("y.example"))?.mode, "enforce");
  assert.equal(host.requests, 1);
  now += 100_001;
  assert.equal(await open({}).policyFor("y.example"), undefined, "not beyond max_age");
  await host.close();
});

test("DANE: matching end-entity and anchor records, no match, no answer, unusable", { skip }, async () => {
  const leaf = new X509Certificate(good.cert);
  const anchor = new X509Certificate(pki!.ca);
  const ee = {
    usage: 3,
    selector: 1,
    matchingType: 1,
    data: sha256(leaf.publicKey.export({ type: "spki", format: "der" })),
  };
  const ta = { usage: 2, selector: 0, matchingType: 1, data: sha256(anchor.raw) };
  const wrong = { usage: 3, selector: 1, matchingType: 1, data: new Uint8Array(32) };
  const settings = { tlsSettings: { dane: true } };
  const kind = async (script: Script, zone: Zone) =>
    (await deliverTo(script, settings, { secure: true, ...zone })).result.kind;
  assert.equal(await kind({ tls: good }, { tlsa: [ee] }), "relayed");
  assert.equal(await kind({ tls: good }, { tlsa: [wrong, ta] }), "relayed");
  assert.equal(await kind({ tls: good }, { tlsa: [wrong] }), "deferred");
  assert.equal(await kind({ tls: other }, { tlsa: [ta] }), "deferred", "an anchor asks for the name, too");
  assert.equal(await kind({}, { tlsa: [ee] }), "deferred", "no way back to clear text");
  assert.equal(await kind({ tls: good }, { tlsaFails: true }), "deferred");
  assert.equal(
    await kind({ tls: other }, { tlsa: [{ ...wrong, usage: 1 }] }),
    "relayed",
    "unusable: TLS, any certificate",
  );
  assert.equal(await kind({}, { tlsa: [{ ...wrong, usage: 1 }] }), "deferred");
  assert.equal(
    await kind({ tls: good }, { tlsa: [wrong], secure: false }),
    "relayed",
    "without DNSSEC records are nothing",
  );
});

function sha256(data: Uint8Array): Uint8Array {
  return createHash("sha256").update(data).digest();
}

test("REQUIRETLS: verified TLS and a host that promises it, or a bounce", { skip }, async () => {
  const want = { requireTls: true };
  assert.equal((await deliverTo({}, {}, {}, want)).result.outcome.enhanced, "5.7.10");
  assert.equal((await deliverTo({ tls: other }, {}, {}, want)).result.outcome.enhanced, "5.7.10");
  assert.equal((await deliverTo({ tls: good }, {}, {}, want)).result.outcome.enhanced, "5.7.30");
  const { result, commands } = await deliverTo({ tls: good, extensions: ["REQUIRETLS"] }, {}, {}, want);
  assert.equal(result.kind, "relayed");
  assert.ok(commands.includes("MAIL FROM:<a@x.example> REQUIRETLS"));
});

test("records and policies by the grammar", () => {
  assert.deepEqual(parseStsRecord("v=STSv1; id=20260101T000000;"), { id: "20260101T000000" });
  for (const bad of [
    "v=STSv1",
    "v=STSv1; id=",
    "v=STSv1; id=a b",
    "v=STSv1;; id=a",
    `v=STSv1; id=${"a".repeat(33)}`,
    "id=a",
  ]) {
    assert.equal(parseStsRecord(bad), undefined, bad);
  }
  const policy = parseStsPolicy(
    "version: STSv1\r\nmode: enforce\r\nmx: a.example\r\nmx: *.b.example\r\nmax_age: 99\r\n",
  )!;
  assert.deepEqual(policy, { mode: "enforce", mx: ["a.example", "*.b.example"], maxAge: 99 });
  for (const [host, allowed] of [
    ["a.example", true],
    ["A.Example.", true],
    ["x.b.example", true],
    ["b.example", false],
    ["x.y.b.example", false],
    ["xa.example", false],
  ] as const) {
    assert.equal(stsAllows(policy, host), allowed, host);
  }
  assert.equal(parseStsPolicy("version: STSv1\nmode: enforce\nmax_age: 1\n"), undefined, "enforce without mx");
  assert.equal(parseStsPolicy("version: STSv1\n\nmode: none\nmax_age: 1\n"), undefined, "blank line");
  assert.deepEqual(parseTlsRptRecord("v=TLSRPTv1; rua=mailto:a@b.example,https://b.example/r")?.rua.length, 2);
  for (const bad of ["v=TLSRPTv1;", "v=TLSRPTv1; rua=ftp://b.example", "v=TLSRPTv1; rua=mailto:a b"]) {
    assert.equal(parseTlsRptRecord(bad), undefined, bad);
  }
});
