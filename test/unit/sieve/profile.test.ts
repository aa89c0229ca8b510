/** Other servers' rules: each statement with a static rule refuses what it should and nothing else. */
import { deepEqual, match, ok } from "node:assert/strict";
import { test } from "node:test";
import { compileSieve } from "../../../src/sieve/compile.ts";
import { Profile, profiles, statements } from "../../../src/sieve/profile.ts";
import { runSieve } from "../../../src/sieve/run.ts";
import { defaultSettings } from "../../../src/sieve/settings.ts";

/** For each id: a script it refuses. */
const refused: Record<string, string> = {
  "AX-01": 'require "variables"; set "a" "b";',
  "AX-02": 'require "body";',
  "AX-03": 'require "relational";',
  "AX-04": 'if header :comparator "i;unicode-casemap" "a" "b" { keep; }',
  "AX-06": 'require "relational"; if header :count "gt" "a" "1" { keep; }',
  "AX-07":
    'require ["relational", "comparator-i;ascii-numeric"]; if header :count "gt" :comparator "i;ascii-numeric" "a" ["1", "2"] { keep; }',
  "AX-09": 'if address "reply-to" "a" { keep; }',
  "AX-10": 'require "envelope"; if envelope "auth" "a" { keep; }',
  "AX-14": "if size :over 5G { keep; }",
  "AX-18": 'require "reject"; keep; reject "a";',
  "AX-35": 'require "body"; if body "a" { keep; }',
  "AX-37": 'require "vacation-seconds"; vacation :seconds 60 "a";',
};

test("each switch refuses its script, and the RFC profile none", () => {
  const ruled = Object.entries(statements).filter(([, s]) => s.rule !== undefined);
  deepEqual(ruled.map(([id]) => id).sort(), Object.keys(refused).sort());
  for (const [id, source] of Object.entries(refused)) {
    const alone = new Profile(id, [id], defaultSettings);
    const found = compileSieve(source, { file: "t", profile: alone }).diagnostics;
    ok(
      found.some((d) => d.code === "S100" && d.message.startsWith(`${id}: `)),
      id,
    );
    ok(compileSieve(source, { file: "t", profile: profiles.rfc }).ok, id);
  }
});

test("all 37 statements are there", () => {
  const ids = Array.from({ length: 37 }, (_, i) => `AX-${String(i + 1).padStart(2, "0")}`);
  deepEqual(Object.keys(statements), ids);
});

test("the Axigen preset takes a script of its own dialect", () => {
  const source =
    'require ["fileinto", "spamtest", "relational", "comparator-i;ascii-numeric"]; if spamtest :value "ge" :comparator "i;ascii-numeric" "5" { fileinto "Junk"; } elsif address :domain "from" "x.example" { discard; }';
  const compiled = compileSieve(source, { file: "t", profile: profiles.axigen });
  ok(compiled.ok);
  ok(!compileSieve(source, { file: "t", profile: profiles["axigen-literal"] }).ok);
  const run = (level: string) =>
    runSieve(
      compiled.script,
      { message: Buffer.from(`X-AxigenSpam-Level: ${level}\r\n\r\n`), envelope: { from: "", to: "" } },
      { settings: profiles.axigen.settings },
    ).actions.map((a) => a.action);
  deepEqual(run("5 spam"), ["fileinto"]);
  deepEqual(run(" 4"), []);
});

test("AX-27: :days is at most 45", () => {
  const compiled = compileSieve('require "vacation"; vacation :days 100 "a";', { file: "t", profile: profiles.axigen });
  ok(compiled.ok);
  const [action] = runSieve(
    compiled.script,
    { message: Buffer.from("\r\n"), envelope: { from: "a@b", to: "c@d" } },
    { settings: profiles.axigen.settings },
  ).actions;
  ok(action?.action === "vacation" && action.period === 45 * 86_400);
  match(profiles.axigen.name, /axigen/);
});
