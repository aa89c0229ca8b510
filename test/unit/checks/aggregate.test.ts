import assert from "node:assert/strict";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { authenticate } from "../../../src/checks/authenticate.ts";
import { AggregateCollector, escapeXml } from "../../../src/checks/dmarc/aggregate.ts";
import { reportMail, reportRecipients } from "../../../src/checks/dmarc/report-mail.ts";
import { budgetWith } from "../../../src/config/budget.ts";
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
const period = { begin: 1_790_000_000, end: 1_790_086_400 };
const reporter = { organization: "Example Net", email: "dmarc@example.net" };

async function seen(ip: string, from = "alice@example.com") {
  const sender = { ip, helo: "mail.example.com", mailFrom: from };
  const authentication = await authenticate(Buffer.from(`From: <${from}>\r\n\r\nHello\r\n`), sender, contextFor(zone));
  return { sourceIp: ip, envelopeFrom: from, disposition: "none", authentication } as const;
}

test("equal results are one row with a count", async () => {
  const collector = new AggregateCollector(budgetWith());
  for (const ip of ["192.0.2.1", "192.0.2.1", "198.51.100.1"]) collector.add(await seen(ip));
  collector.add(await seen("192.0.2.1", "bob@norecord.test"));
  const [report, ...others] = collector.drain(period, reporter);
  assert.equal(others.length, 0);
  assert.equal(report!.domain, "example.com");
  assert.deepEqual(
    [...report!.xml.matchAll(/<source_ip>(.*?)<\/source_ip><count>(\d+)<\/count>.*?<spf>(\w+)<\/spf>/g)].map((m) =>
      m.slice(1),
    ),
    [
      ["192.0.2.1", "2", "pass"],
      ["198.51.100.1", "1", "fail"],
    ],
  );
  assert.match(report!.xml, /<discovery_method>treewalk<\/discovery_method>/);
  assert.deepEqual(collector.drain(period, reporter), []);
});

test("rows and domains are limited", async () => {
  const collector = new AggregateCollector(budgetWith({ reportRows: 2, reportDomains: 1 }));
  for (const ip of ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.2"]) collector.add(await seen(ip));
  assert.equal(collector.dropped, 1);
  const other = await seen("192.0.2.1");
  other.authentication.dmarc.domain = "example.org";
  collector.add(other);
  assert.equal(collector.dropped, 2);
});

test("values can't break the XML", () => {
  assert.equal(escapeXml("<a&b>\"'\u0000\u001b"), "&#60;a&#38;b&#62;&#34;&#39;??");
});

test("reports go inside the organization, or where the receiver agrees", async () => {
  const collector = new AggregateCollector(budgetWith());
  collector.add(await seen("192.0.2.1"));
  const [report] = collector.drain(period, reporter);
  assert.deepEqual(await reportRecipients(report!, contextFor(zone)), ["d@example.com", "r@reports.test"]);
  const mail = reportMail(report!, "d@example.com", reporter, "mx.example.net", period, new Date(0)).toString();
  assert.match(
    mail,
    /^Subject: Report Domain: example\.com Submitter: mx\.example\.net Report-ID: <example\.com\.\d+\.\d+>\r$/m,
  );
  assert.match(mail, /filename="mx\.example\.net!example\.com!1790000000!1790086400\.xml\.gz"/);
  assert.doesNotMatch(mail, /[^\r]\n/);
  const attachment = mail.slice(mail.indexOf("base64\r\n\r\n") + 10, mail.lastIndexOf("\r\n--"));
  assert.equal(gunzipSync(Buffer.from(attachment, "base64")).toString(), report!.xml);
});
