/** The suites' runners count what passes and what doesn't; the data itself is read in place by `postern conformance`. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { suites } from "../../../src/checks/conformance.ts";

async function run(name: string, files: Record<string, string>): Promise<{ passed: number; failed: string[] }> {
  const folder = await mkdtemp(join(tmpdir(), "postern-suite-"));
  try {
    for (const [file, text] of Object.entries(files)) await writeFile(join(folder, file), text);
    const result = await suites.find((suite) => suite.name === name)!.run(folder);
    assert.equal(result.name, name);
    return { passed: result.passed, failed: result.failed.map((failure) => failure.name) };
  } finally {
    await rm(folder, { recursive: true });
  }
}

test("a right and a wrong expectation are told apart", async () => {
  const spf = (name: string, result: string) => ({
    scenario: "s",
    name,
    ip: "192.0.2.1",
    helo: "h.test",
    mailFrom: "a@b.test",
    result: [result],
    explanation: null,
    zone: { "b.test": [{ SPF: "v=spf1 -all" }] },
  });
  const cases = JSON.stringify({ cases: [spf("right", "fail"), spf("wrong", "pass")] });
  assert.deepEqual(await run("spf", { "cases.json": cases }), { passed: 1, failed: ["s: wrong"] });

  const vectors = "checkPublicSuffix('www.example.com', 'example.com');\ncheckPublicSuffix('example.com', null);\n";
  const psl = await run("psl", { "test_psl.txt": vectors });
  assert.deepEqual([psl.passed, psl.failed.length], [1, 1]);

  const headers = [
    { header: "Authentication-Results: a.test; none", error: "x" },
    { header: "Authentication-Results: ;", error: "x" },
  ];
  const authres = await run("authres", { "cases.json": JSON.stringify(headers) });
  assert.deepEqual([authres.passed, authres.failed.length], [1, 1]);

  const arc = (name: string, cv: string) => ({ name, cv, message: "From: a@b.test\n\nHello\n", "txt-records": {} });
  const chains = await run("arc-validate", {
    "cases.json": JSON.stringify({ cases: [arc("none", "None"), arc("pass", "Pass")] }),
  });
  assert.deepEqual(chains, { passed: 1, failed: ["pass"] });

  const dkim = (file: string, result: string) => ({
    file,
    result,
    use: "yes",
    message_base64: Buffer.from("From: a@b.test\r\n\r\nHello\r\n").toString("base64"),
  });
  const signatures = JSON.stringify({ dns: {}, cases: [dkim("invalid", "invalid"), dkim("pass", "pass")] });
  assert.deepEqual(await run("dkim", { "cases.json": signatures }), { passed: 1, failed: ["pass"] });

  const dmarc = (name: string, value: string) => ({
    name,
    inputs: [
      {
        headerFrom: "a@b.test",
        dkimDomains: [],
        spfDomains: [],
        zone: { "_dmarc.b.test": { TXT: [["v=DMARC1; p=none"]] } },
      },
    ],
    expect: [{ path: "result.status.result", op: "equal", value, input: 0 }],
  });
  const policies = JSON.stringify({ cases: [dmarc("fails", "fail"), dmarc("passes", "pass")] });
  assert.deepEqual(await run("dmarc", { "cases.json": policies }), { passed: 1, failed: ["passes"] });
});

test("a folder without data rejects", async () => {
  await assert.rejects(run("spf", {}));
  await assert.rejects(run("geoip", {}));
});
