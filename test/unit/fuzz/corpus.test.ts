/** The kept corpora of the fuzzer run through their targets, findings that were fixed among them; and the fuzzer itself. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readCorpus } from "../../fuzz/corpus.ts";
import { Coverage } from "../../fuzz/coverage.ts";
import { fuzz } from "../../fuzz/fuzzer.ts";
import { mutate, random } from "../../fuzz/mutate.ts";
import { targets } from "../../fuzz/targets.ts";

for (const [name, target] of Object.entries(targets)) {
  test(`${name}: seeds and corpus`, () => {
    for (const seed of target.seeds) target.run(Buffer.from(seed, "latin1"));
    const corpus = readCorpus(name);
    assert.ok(corpus.length > 0, "there is a corpus");
    for (const input of corpus) target.run(input);
  });
}

test("mutation is repeatable and bounded", () => {
  const once = (): string[] => {
    const pick = random(7);
    return Array.from({ length: 50 }, () =>
      mutate(Buffer.from("hello"), Buffer.from("world"), ["word"], 20, pick).toString("latin1"),
    );
  };
  assert.deepEqual(once(), once());
  assert.ok(new Set(once()).size > 30);
  assert.ok(once().every((text) => text.length <= 20));
});

test("coverage leads to a bug behind three comparisons", async () => {
  const coverage = await Coverage.start(import.meta.url);
  const target = {
    about: "",
    seeds: ["aaaa"],
    words: [],
    maxBytes: 8,
    run(input: Buffer) {
      if (input[0] === 0x7a) {
        if (input[1] === 0x71) {
          if (input[2] === 0x21) throw new Error("found");
        }
      }
    },
  };
  const result = await fuzz(target, { coverage, pick: random(1), forMs: 20_000, corpus: [], onInput: () => {} });
  assert.match(result.finding?.reason ?? "", /found/);
});
