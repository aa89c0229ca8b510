/**
 * Reports to other domains from the live gateway: counted by two workers, kept over a restart, each sent once, and
 * readable by somebody else's parsers.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import { type DnsServer, startDnsServer } from "../unit/dns/server.ts";
import { dumped, type Gateway, Lab, sendMessage, until } from "./lab.ts";

const lab = new Lab();
let dns: DnsServer;

before(async () => {
  dns = await startDnsServer({
    "sender.test": [{ TXT: "v=spf1 ip4:127.0.0.0/8 -all" }],
    "_dmarc.sender.test": [{ TXT: "v=DMARC1; p=reject; rua=mailto:reports@sender.test,mailto:r@stranger.test" }],
    "_smtp._tls.secure.test": [{ TXT: "v=TLSRPTv1; rua=mailto:tls@sender.test" }],
  });
});
after(async () => {
  await lab.close();
  await dns.close();
});

const letter = (subject: string) =>
  `From: a@sender.test\r\nTo: b@local.test\r\nSubject: ${subject}\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\nMessage-ID: <${subject}@sender.test>\r\n\r\nbody\r\n`;

/** Mail in a dump whose Subject is a report's, with the address it is for and what is in the attachment. */
function reports(dump: string): Array<{ to: string; file: string; content: string }> {
  return dumped(dump).flatMap((text) => {
    const base64 = /Content-Transfer-Encoding: base64[\s\S]*?\n\n([A-Za-z0-9+/=\n]+?)\n--/.exec(
      text.replaceAll("\r", ""),
    );
    const to = /^To: <?([^>\r\n]+)/m.exec(text)?.[1] ?? "";
    const file = /filename="([^"]+)"/.exec(text)?.[1] ?? "";
    return base64 === null ? [] : [{ to, file, content: gunzipSync(Buffer.from(base64[1]!, "base64")).toString() }];
  });
}

const config = (hop: string, every: string) => ({
  dns: { servers: [dns.address] },
  authentication: { results: true, reports: { contact: "dmarc@gw.test", every } },
  relay: { tlsReports: { contact: "postmaster@gw.test", every }, trustedNetworks: [] },
  domains: { local: ["local.test"], routes: { "sender.test": hop, "stranger.test": hop } },
  accounts: [{ address: "b@local.test" }],
  workers: 2,
});

/** Each message over a connection of its own: the kernel spreads them over the workers. */
async function deliver(gateway: Gateway, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const replies = await sendMessage(gateway.port, {
      from: "a@sender.test",
      to: ["b@local.test"],
      text: letter(name),
    });
    assert.match(replies.at(-1)!, /^250 /);
  }
}

/** Element names in the order in which they stand, below `path`. */
const pythonCheck = `
import sys, xml.etree.ElementTree as E
ns = "{urn:ietf:params:xml:ns:dmarc-2.0}"
root = E.fromstring(sys.stdin.buffer.read())
assert root.tag == ns + "feedback", root.tag
names = lambda e: [c.tag.replace(ns, "") for c in e]
assert names(root)[:3] == ["version", "report_metadata", "policy_published"], names(root)
assert set(names(root)[3:]) == {"record"}
meta = root.find(ns + "report_metadata")
assert names(meta) == ["org_name", "email", "report_id", "date_range"], names(meta)
policy = {c.tag.replace(ns, ""): c.text for c in root.find(ns + "policy_published")}
assert policy["discovery_method"] in ("psl", "treewalk") and policy["testing"] in ("y", "n"), policy
total = 0
for record in root.findall(ns + "record"):
    assert names(record) == ["row", "identifiers", "auth_results"]
    row = record.find(ns + "row")
    assert names(row) == ["source_ip", "count", "policy_evaluated"]
    total += int(row.find(ns + "count").text)
    for kind in ("dkim", "spf"):
        assert row.find(ns + "policy_evaluated/" + ns + kind).text in ("pass", "fail")
    assert row.find(ns + "policy_evaluated/" + ns + "disposition").text in ("none", "pass", "quarantine", "reject")
rng = meta.find(ns + "date_range")
print(policy["domain"], policy["p"], total, rng.find(ns + "begin").text, rng.find(ns + "end").text)
`;

test("what two workers count is reported once, over a restart too", { timeout: 120_000 }, async () => {
  const sink = await lab.sink();
  const settings = config(`[127.0.0.1]:${sink.port}`, "5s");
  const gateway = await lab.gateway(settings);
  await deliver(gateway, ["1", "2", "3", "4", "5", "6"]);
  // Before the period's reports are due, mostly: what was counted is in the file, not in the workers.
  await gateway.kill("SIGTERM");
  const again = await lab.gateway(settings, undefined, gateway.port);
  await deliver(again, ["7", "8"]);
  const total = () =>
    reports(sink.dump).reduce((sum, { content }) => sum + Number(/<count>(\d+)</.exec(content)?.[1] ?? 0), 0);
  await until("all is reported", () => total() >= 8, 40_000);
  // The other worker has its turn too.
  await sleep(6_000);
  const periods = reports(sink.dump).map(({ content, file, to }) => {
    assert.equal(to, "reports@sender.test", "stranger.test did not agree to be written to");
    const said = execFileSync("/usr/bin/python3", ["-c", pythonCheck], { input: content, encoding: "utf8" });
    const [domain, policy, count, begin, end] = said.trim().split(" ");
    assert.equal(`${domain} ${policy}`, "sender.test reject");
    assert.match(file, new RegExp(`^gw\\.test!sender\\.test!${begin}!${end}![0-9a-f]+\\.xml\\.gz$`));
    assert.equal(Number(end) - Number(begin), 4);
    return { begin, count: Number(count) };
  });
  assert.equal(
    periods.reduce((sum, { count }) => sum + count, 0),
    8,
  );
  assert.equal(new Set(periods.map(({ begin }) => begin)).size, periods.length, "a report for each period");
  await sink.stop();
  await again.kill("SIGTERM");
});

test("a host without TLS is reported to the domain that asks", { timeout: 120_000 }, async () => {
  const sink = await lab.sink();
  const hop = `[127.0.0.1]:${sink.port}`;
  const gateway = await lab.gateway({
    dns: { servers: [dns.address] },
    relay: {
      tlsReports: { contact: "postmaster@gw.test", every: "4s" },
      tls: { byDomain: { "secure.test": "required" } },
      trustedNetworks: ["127.0.0.0/8"],
    },
    domains: { local: ["local.test"], routes: { "secure.test": hop, "sender.test": hop } },
    workers: 2,
  });
  await sendMessage(gateway.port, { from: "a@local.test", to: ["b@secure.test"], text: letter("tls") });
  const [report] = await until("the report arrives", () => {
    const arrived = reports(sink.dump);
    return arrived.length > 0 && arrived;
  });
  assert.equal(report!.to, "tls@sender.test");
  const found = JSON.parse(report!.content) as Record<string, string> & {
    "date-range": Record<string, string>;
    policies: unknown[];
  };
  assert.equal(found["organization-name"], "gw.test");
  assert.equal(found["contact-info"], "postmaster@gw.test");
  const { "start-datetime": start, "end-datetime": end } = found["date-range"];
  assert.match(`${start} ${end}`, /^\d{4}-\d\d-\d\dT[\d:]{8}Z \d{4}-\d\d-\d\dT[\d:]{8}Z$/);
  const times = [start!, end!].map((text) => Date.parse(text) / 1_000);
  assert.ok(report!.file.startsWith(`gw.test!secure.test!${times.join("!")}!`), report!.file);
  assert.deepEqual(found.policies, [
    {
      policy: { "policy-type": "no-policy-found", "policy-domain": "secure.test" },
      summary: { "total-successful-session-count": 0, "total-failure-session-count": 1 },
      "failure-details": [
        {
          "result-type": "starttls-not-supported",
          "receiving-mx-hostname": "127.0.0.1",
          "receiving-ip": "127.0.0.1",
          "failed-session-count": 1,
        },
      ],
    },
  ]);
  await sink.stop();
  await gateway.kill("SIGTERM");
});
