/** The index and its parts against plain models: random operations must leave both saying the same. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MessageIndex } from "../../../src/queue/message-index.ts";
import { SlotTable } from "../../../src/queue/slot-table.ts";
import type { Summary } from "../../../src/queue/stored-message.ts";
import { TextTable } from "../../../src/queue/text-table.ts";
import type { QueueFilter } from "../../../src/queue/types.ts";

test("slots are found by id through growth and removal", () => {
  const table = new SlotTable();
  const model = new Map<number, number>();
  // Ids of 48 bits: the upper half must count too.
  const idOf = (n: number) => n * 256 + (n % 3) * 2 ** 40;
  for (let n = 0; n < 20_000; n++) {
    model.set(idOf(n), table.add(idOf(n)));
    if (n % 3 !== 0) continue;
    const gone = idOf(Math.floor(n / 2));
    const slot = model.get(gone);
    if (slot !== undefined) table.remove(slot);
    model.delete(gone);
  }
  assert.equal(table.length, model.size);
  assert.equal(new Set(model.values()).size, model.size, "no slot twice");
  for (const [id, slot] of model) assert.equal(table.find(id), slot);
  assert.equal(table.find(idOf(0)), -1);
  assert.equal(table.find(Number.NaN), -1);
});

test("texts are kept once, found in any case, and their room is used again", () => {
  const texts = new TextTable();
  const one = texts.hold("Bob@Example.org");
  assert.equal(texts.hold("bob@example.ORG"), one);
  const several = texts.hold("a@x.example\nBOB@example.org\nc@y.example");
  const wide = texts.hold("jürgen@bücher.example");
  assert.equal(texts.count, 3);
  for (const [pattern, found] of [
    ["bob@example.org", [one, several]],
    ["*@example.org", [one, several]],
    ["b*@*.org", [one, several]],
    ["*x.example", [several]],
    ["a@x.example*c@y.example", []], // a value ends with its line
    ["JÜRGEN@*", [wide]],
    ["", [0]],
    ["*", [one, several, wide]],
    ["bob@example.or", []],
  ] as const) {
    const test = texts.like(pattern);
    assert.deepEqual([0, one, several, wide].filter(test), [...found], pattern);
  }
  assert.deepEqual([0, one, several, wide].filter(texts.contains("EXAMPLE.org")), [one, several]);
  texts.release(one);
  assert.equal(texts.hold("BOB@example.org"), one, "still held once");
  texts.release(one);
  texts.release(one);
  assert.deepEqual([several].filter(texts.has("bob@example.org")), [several]);
  assert.equal(texts.hold("eve@example.net"), one, "another text of that length takes its place");
  assert.deepEqual([one, several].filter(texts.has("bob@example.org")), [several]);
});

test("texts longer than a page, and many of them", () => {
  const texts = new TextTable();
  const long = `${"a@b.example\n".repeat(200_000)}end@b.example`;
  const entry = texts.hold(long);
  const others = Array.from({ length: 50_000 }, (_, n) => texts.hold(`user${n}@d${n % 7}.example`));
  assert.equal(texts.like("end@*")(entry), true);
  assert.equal(texts.hold(long), entry);
  assert.equal(new Set(others).size, others.length);
  const test = texts.like("user49*9@d3.example");
  const found = others.flatMap((other, n) => (test(other) ? [n] : []));
  assert.deepEqual(
    found,
    Array.from({ length: 50_000 }, (_, n) => n).filter((n) => /^49\d*9$/.test(String(n)) && n % 7 === 3),
  );
});

const states = ["received", "send failure", "held"] as const;
const message = fc.record({
  kind: fc.constant("put" as const),
  id: fc.integer({ min: 1, max: 40 }),
  state: fc.constantFrom(...states),
  due: fc.integer({ min: 0, max: 20 }),
  sender: fc.constantFrom("", "a@x.example", "B@y.example"),
  recipient: fc.constantFrom("r@x.example", "r@x.example\ns@y.example"),
  failure: fc.constantFrom("", "No route", "refused"),
});
const step = fc.oneof(
  { weight: 4, arbitrary: message },
  fc.record({
    kind: fc.constantFrom("remove" as const, "take" as const, "untake" as const),
    id: fc.integer({ min: 1, max: 40 }),
  }),
  fc.record({ kind: fc.constant("first" as const), now: fc.integer({ min: 0, max: 20 }) }),
);

test("any order of operations leaves the index as a plain list would be", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 120 }), async (steps) => {
      const index = new MessageIndex();
      const model = new Map<number, Summary & { taken: boolean }>();
      const waiting = () =>
        [...model]
          .filter(([, { taken, state }]) => !taken && state !== "held")
          .sort(([a, x], [b, y]) => x.nextAttempt - y.nextAttempt || a - b);
      for (const s of steps) {
        if (s.kind === "put") {
          const { id, state, due, sender, recipient, failure } = s;
          const rest = { nextAttempt: due, receivedAt: id, sender, recipients: recipient, destinations: "", failure };
          const place = { segment: 1 + (id % 3), offset: 0, jsonBytes: 10, bodyBytes: 5 };
          index.put(id, { state, ...rest }, place, { segment: place.segment, offset: 10, bytes: 5 });
          model.set(id, { state, ...rest, taken: model.get(id)?.taken ?? false });
        } else if (s.kind === "remove") {
          index.remove(s.id);
          model.delete(s.id);
        } else if (s.kind === "first") {
          const [first] = waiting();
          const expected = first !== undefined && first[1].nextAttempt <= s.now ? first[0] : undefined;
          assert.equal(index.takeFirst(s.now), expected);
          if (expected !== undefined) model.get(expected)!.taken = true;
        } else {
          const known = model.get(s.id);
          if (s.kind === "take") {
            const can = known !== undefined && !known.taken && known.state !== "held";
            assert.equal(index.take(s.id), can);
            if (can) known.taken = true;
          } else {
            index.untake(s.id);
            if (known !== undefined) known.taken = false;
          }
        }
        assert.equal(index.length, model.size);
        assert.equal(index.nextDue(), waiting()[0]?.[1].nextAttempt);
        assert.equal(index.liveBytes, model.size * 15);
      }
      const ids = [...model.keys()].sort((a, b) => a - b);
      const wanted = (filter: QueueFilter) => index.match(filter, 100, Number.POSITIVE_INFINITY);
      const like = (test: (m: Summary) => boolean) => ids.filter((id) => test(model.get(id)!));
      assert.deepEqual(await wanted({}), ids);
      assert.deepEqual(await index.match({ offset: 2 }, 100, 3), ids.slice(2, 5));
      assert.deepEqual(
        await wanted({ sender: "b@Y.example" }),
        like(({ sender }) => sender === "B@y.example"),
      );
      assert.deepEqual(
        await wanted({ recipient: "s@y.example" }),
        like(({ recipients }) => recipients.includes("s@")),
      );
      assert.deepEqual(
        await wanted({ failure: "ROUTE" }),
        like(({ failure }) => failure === "No route"),
      );
      assert.deepEqual(
        await wanted({ status: "held" }),
        like(({ state }) => state === "held"),
      );
      for (const segment of [1, 2, 3]) {
        const inIt = ids.filter((id) => 1 + (id % 3) === segment);
        assert.deepEqual(
          index.idsIn(segment).sort((a, b) => a - b),
          inIt,
        );
        assert.equal(index.needing(segment) > 0, inIt.length > 0);
      }
    }),
    { numRuns: 200 },
  );
});

test("a record written anew leaves the due time as it is now", () => {
  const index = new MessageIndex();
  const place = { segment: 1, offset: 0, jsonBytes: 1, bodyBytes: 1 };
  const body = { segment: 1, offset: 1, bytes: 1 };
  const summary: Summary = {
    ...{
      state: "processed",
      receivedAt: 1,
      nextAttempt: 5,
      sender: "",
      recipients: "",
      destinations: "d",
      failure: "",
    },
  };
  index.put(7, summary, place, body);
  index.take(7);
  index.untake(7, Number.MAX_SAFE_INTEGER); // put aside by its destination
  index.move(7, { ...place, segment: 2 }, { ...body, segment: 2 });
  assert.equal(index.takeFirst(1_000), undefined);
  assert.equal(index.hasten("d", 1_000), 0);
  assert.deepEqual([index.needing(1), index.needing(2)], [0, 2]);
});
