import assert from "node:assert/strict";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { authenticate } from "../../../src/checks/authenticate.ts";
import { aggregateReport, countForAggregate, escapeXml } from "../../../src/checks/dmarc/aggregate.ts";
import { reportMail, reportRecipients } from "../../../src/checks/dmarc/report-mail.ts";
import type { Taken } from "../../../src/state/tally.ts";
import { contextFor, type TestZone } from "./zone.ts";

const zone: TestZone = {
  "example.com": { TXT: ["v=spf1 ip4:192.0.2.1 -all"] },
  "_dmarc.example.com": {
    TXT: [
      "v=DMARC1; p=reject; rua=mailto:d@example.com,mailto:r@reports.test,mailto:x@stranger.test,mailto:y@down.test",
    ],
  },
  "example.com._report._dmarc.reports.test": { TXT: ["v=DMARC1;"] },
  "example.com._report._dmarc.down.test": "timeout",
};
const day = { begins: 1_789_948_800_000, ends: 1_790_035_200_000 };
const reporter = { organization: "Example Net", email: "dmarc@example.net" };

/** A tally in memory. */
class Held {
  readonly taken = new Map<string, Taken>();

  count(domain: string, about: string, row: string): void {
    const held = this.taken.get(`${domain} ${about}`) ?? { ...day, domain, about, rows: [] };
    const times = held.rows.find((known) => known.row === row)?.count ?? 0;
    const rows = [...held.rows.filter((known) => known.row !== row), { row, count: times + 1 }];
    this.taken.set(`${domain} ${about}`, { ...held, rows });
  }
}

async function seen(ip: string, from = "alice@example.com") {
  const sender = { ip, helo: "mail.example.com", mailFrom: from };
  const authentication = await authenticate(Buffer.from(`From: <${from}>\r\n\r\nHello\r\n`), sender, contextFor(zone));
  return { sourceIp: ip, envelopeFrom: from, disposition: "none", authentication } as const;
}

test("equal results are one row with a count", async () => {
  const held = new Held();
  for (const ip of ["192.0.2.1", "198.51.100.1", "192.0.2.1"]) countForAggregate(await seen(ip), held);
  countForAggregate(await seen("192.0.2.1", "bob@norecord.test"), held);
  const [taken, ...others] = held.taken.values();
  assert.equal(others.length, 0);
  const report = aggregateReport(taken!, reporter);
  assert.equal(report.domain, "example.com");
  assert.deepEqual(
    [...report.xml.matchAll(/<source_ip>(.*?)<\/source_ip><count>(\d+)<\/count>.*?<spf>(\w+)<\/spf>/g)].map((m) =>
      m.slice(1),
    ),
    [
      ["198.51.100.1", "1", "fail"],
      ["192.0.2.1", "2", "pass"],
    ],
  );
  assert.match(report.xml, /<discovery_method>treewalk<\/discovery_method>/);
  assert.match(report.xml, /<begin>1789948800<\/begin><end>1790035199<\/end>/);
});

test("late counts of a period make a report of another name", async () => {
  const [early, late] = [new Held(), new Held()];
  countForAggregate(await seen("192.0.2.1"), early);
  countForAggregate(await seen("192.0.2.2"), late);
  const [one, again, other] = [early, early, late].map(
    ({ taken }) => aggregateReport([...taken.values()][0]!, reporter).reportId,
  );
  assert.equal(one, again);
  assert.notEqual(one, other);
});

test("values can't break the XML", () => {
  assert.equal(escapeXml("<a&b>\"'\u0000\u001b"), "&#60;a&#38;b&#62;&#34;&#39;??");
});

test("reports go inside the organization, or where the receiver agrees", async () => {
  const held = new Held();
  countForAggregate(await seen("192.0.2.1"), held);
  const report = aggregateReport([...held.taken.values()][0]!, reporter);
  assert.deepEqual(await reportRecipients(report, contextFor(zone)), ["d@example.com", "r@reports.test"]);
  const mail = reportMail(report, "d@example.com", reporter, "mx.example.net", new Date(0)).toString();
  assert.match(
    mail,
    /^Subject: Report Domain: example\.com Submitter: mx\.example\.net Report-ID: <\d+\.\d+\.[0-9a-f]{12}>\r$/m,
  );
  assert.match(mail, /filename="mx\.example\.net!example\.com!1789948800!1790035199![0-9a-f]{12}\.xml\.gz"/);
  assert.doesNotMatch(mail, /[^\r]\n/);
  const attachment = mail.slice(mail.indexOf("base64\r\n\r\n") + 10, mail.lastIndexOf("\r\n--"));
  assert.equal(gunzipSync(Buffer.from(attachment, "base64")).toString(), report.xml);
});
