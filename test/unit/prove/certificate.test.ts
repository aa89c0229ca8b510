import assert from "node:assert/strict";
import { test } from "node:test";
import { proofOf } from "./lab.ts";

const relaying = (condition: string): string =>
  `event onEhlo { set (remoteDelivery, "none"); if (${condition}) { set (remoteDelivery, "all"); } }\n`;

async function openRelay(condition: string): Promise<string> {
  const findings = await proofOf(relaying(condition));
  return findings.find(({ theorem }) => theorem === "no-open-relay")!.result;
}

test("anybody can make a certificate with any name; nobody has another's verified one, or its fingerprint", async () => {
  const named = 'is (clientCertSubject, "CN=partner.example")';
  assert.equal(await openRelay(named), "fails");
  assert.equal(await openRelay('is (clientCertIssuer, "CN=Partner CA")'), "fails");
  assert.equal(await openRelay('is (clientCertVerified, "yes")'), "holds");
  assert.equal(await openRelay(`allOf (is (clientCertVerified, "yes"), ${named})`), "holds");
  assert.equal(await openRelay('is (clientCertFingerprint, "AB:CD")'), "holds");
});
