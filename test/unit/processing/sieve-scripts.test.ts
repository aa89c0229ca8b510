import assert from "node:assert/strict";
import { test } from "node:test";
import { compileSieveScripts, type SieveSource, sieveFilters } from "../../../src/processing/sieve-scripts.ts";
import { defaultSettings } from "../../../src/sieve/settings.ts";
import { budget, house, log, queued, source } from "./house.ts";

const script = (level: SieveSource["level"], match: string, text: string): SieveSource => ({
  level,
  match,
  priority: 1,
  file: `${level}.sieve`,
  text,
});
const options = { budget, settings: defaultSettings, profile: "rfc" } as const;

test("scripts of each level see their own mail, and the last that decides wins", async () => {
  const compiled = compileSieveScripts(
    [
      script("account", "ONE@l.example", "keep;"),
      script("domain", "l.example", "discard;"),
      script("domain", "other.example", 'require "reject"; reject "never asked";'),
      script("server", "", "stop;"),
    ],
    options,
  );
  assert.ok(compiled.ok);
  const { processor, state } = house();
  const filters = sieveFilters(compiled.scripts, {
    settings: defaultSettings,
    budget,
    hostName: "mx.example",
    state,
    log,
    isLocal: () => true,
    accountOf: (address) => address.toLowerCase(),
    relayFolders: true,
  });
  assert.deepEqual(await processor.process(queued(), source()), { kind: "continue" });
  const chain = house(...filters).processor;
  assert.equal((await chain.process(queued(["one@l.example"]), source())).kind, "continue");
  assert.equal((await chain.process(queued(["two@l.example"]), source())).kind, "discard");
});

test("one broken script refuses them all and says where", () => {
  const compiled = compileSieveScripts([script("server", "", "keep;"), script("domain", "x", "kep;")], options);
  assert.equal(compiled.ok, false);
  assert.equal(compiled.diagnostics[0]?.span.file, "domain.sieve");
});
