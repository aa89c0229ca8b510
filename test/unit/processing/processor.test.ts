import assert from "node:assert/strict";
import { test } from "node:test";
import { outcome } from "../../../src/message/outcome.ts";
import type { Decision, Filter, FilterLevel } from "../../../src/processing/filter.ts";
import { rejected } from "../../../src/processing/filter.ts";
import { policyFilter } from "../../../src/processing/policy-filter.ts";
import { scannerFilter, scannerJudge } from "../../../src/processing/scanner-filter.ts";
import type { BodySource, QueuedMessage } from "../../../src/queue/types.ts";
import { type Scanner, ScannerError, type ScanVerdict } from "../../../src/scanners/types.ts";
import { budget, house, type MemoryWriter, queued, source, text } from "./house.ts";

const filter = (name: string, decision: Decision, level: FilterLevel = "server", priority = 1, owner = ""): Filter => ({
  name,
  level,
  priority,
  ...(level === "server" ? {} : { applies: (address: string) => address.endsWith(owner) }),
  run: async () => decision,
});

const reject = { action: { kind: "reject", outcome: rejected("no", "t") } } as const;
const keep = { action: { kind: "keep" } } as const;

test("no filters: the message goes on untouched and unread", async () => {
  const { processor } = house();
  const unread: BodySource = { size: 1, inMemory: () => undefined, stream: () => assert.fail("read") };
  assert.deepEqual(await processor.process(queued(), unread), { kind: "continue" });
});

test("levels, then priorities; the last filter that decides wins", async () => {
  const kind = async (...filters: Filter[]) => (await house(...filters).processor.process(queued(), source())).kind;
  assert.equal(await kind(filter("a", {}), filter("b", {}), filter("c", reject)), "reject");
  assert.equal(await kind(filter("late", keep, "server", 9), filter("early", reject, "server", 1)), "continue");
  assert.equal(
    await kind(filter("account", reject, "account", 1, "example"), filter("server", keep, "server", 9)),
    "reject",
  );
  assert.equal(await kind(filter("elsewhere", reject, "domain", 1, "@other"), filter("b", {})), "continue");
});

test("a failing filter defers, undoes what others changed, and sends nothing", async () => {
  const changing = filter("changes", {
    addRecipients: ["extra@x"],
    tags: ["t"],
    exports: { a: "b" },
    mailFrom: "z@z",
    send: [{ envelope: queued().envelope, bytes: Buffer.from("x") }],
  });
  const failing: Filter = {
    name: "down",
    level: "server",
    priority: 2,
    run: () => Promise.reject(new ScannerError("connect", "refused")),
  };
  const { processor, committed } = house(changing, failing);
  const message = queued();
  const verdict = await processor.process(message, source());
  assert.equal(verdict.kind === "defer" && verdict.outcome.code, 451);
  assert.deepEqual(message, queued());
  assert.equal(committed.length, 0);
});

test("header edits, of the session and of filters, reach the new body", async () => {
  const { processor } = house(filter("a", { headerEdits: [{ op: "add", name: "X-Two", value: "2", at: "top" }] }));
  const message = queued(undefined, {
    headerEdits: [{ op: "modify", name: "Subject", value: "new", which: 1, missing: "add" }],
  });
  const verdict = await processor.process(message, source());
  assert.ok(verdict.kind === "continue" && verdict.replacedBody);
  assert.equal(
    (verdict.replacedBody as MemoryWriter).text,
    `X-Two: 2\r\n${text.replace("Subject: hi", "Subject: new")}`,
  );
  assert.equal(message.marks.headerEdits, undefined);
});

test("recipients with another fate or content are split off", async () => {
  const { processor, committed } = house(
    filter("a", reject, "account", 1, "two@l.example"),
    filter(
      "b",
      { headerEdits: [{ op: "add", name: "X-Three", value: "3", at: "top" }] },
      "account",
      1,
      "three@l.example",
    ),
    filter("c", { action: { kind: "discard", reason: "" } }, "account", 1, "four@l.example"),
  );
  const message = queued(["one@l.example", "two@l.example", "three@l.example", "four@l.example"]);
  assert.deepEqual(await processor.process(message, source()), { kind: "continue" });
  assert.deepEqual(
    message.recipients.map((r) => r.state),
    ["received", "discarded", "discarded", "discarded"],
  );
  assert.deepEqual(
    committed.map((c) => c.message.envelope.rcptTo.map((r) => r.address)),
    [["two@l.example"], ["three@l.example"]],
  );
  assert.match(committed[1]!.text, /^X-Three: 3\r\nReceived:/);
  // The refused one is refused when its own turn comes.
  const split = { ...queued(["two@l.example"]), ...committed[0]!.message } as QueuedMessage;
  assert.equal((await processor.process(split, source())).kind, "reject");
});

test("a message is held once: its release overrules the filter", async () => {
  const { processor } = house(filter("h", { action: { kind: "hold", reason: "look" } }));
  const message = queued();
  assert.deepEqual(await processor.process(message, source()), { kind: "hold", reason: "look" });
  assert.deepEqual(await processor.process(message, source()), { kind: "continue" });
});

test("added recipients end at the budget", async () => {
  const many = Array.from({ length: budget.recipients + budget.addedRecipients }, (_, i) => `r${i}@x`);
  const verdict = await house(filter("a", { addRecipients: many })).processor.process(queued(), source());
  assert.equal(verdict.kind, "defer");
});

function scanner(answer: Partial<ScanVerdict> | ScannerError): Scanner {
  return {
    name: "fake",
    scan: async (input) => {
      let size = 0;
      for await (const chunk of input.bytes()) size += chunk.length;
      assert.equal(size, input.size);
      if (answer instanceof Error) throw answer;
      return { scanner: "fake", virus: "", symbols: [], elapsed: 1, ...answer };
    },
    ping: async () => {},
    close: async () => {},
  };
}

test("scanner verdicts become levels and actions, failures the declared mode", async () => {
  const run = async (answer: Parameters<typeof scanner>[0], options = {}) => {
    const given = { onVirus: "reject", onSpam: "tag", onError: "wait", maxBytes: 0, ...options } as const;
    const judge = scannerJudge(scanner(answer), given);
    const asked = scannerFilter(judge, { name: "fake", priority: 100, onError: given.onError });
    const verdict = await house(asked).processor.process(queued(), source());
    const body = verdict.kind === "continue" ? (verdict.replacedBody as MemoryWriter | undefined)?.text : undefined;
    return { kind: verdict.kind, first: body?.split("\r\n")[0], code: "outcome" in verdict ? verdict.outcome.code : 0 };
  };
  assert.deepEqual(await run({ virus: "Eicar" }), { kind: "reject", first: undefined, code: 552 });
  assert.deepEqual(await run({ virus: "Eicar" }, { onVirus: "tag" }), {
    kind: "continue",
    first: "X-AxigenVirus-Level: 5 Eicar",
    code: 0,
  });
  assert.deepEqual(await run({ score: 7, threshold: 5 }), {
    kind: "continue",
    first: "X-AxigenSpam-Level: 10",
    code: 0,
  });
  assert.equal((await run({ score: 7, threshold: 5 }, { onSpam: "reject" })).kind, "reject");
  assert.equal((await run({ action: "tmpreject" })).code, 451);
  const down = new ScannerError("timeout", "slow");
  assert.equal((await run(down)).kind, "defer");
  assert.equal((await run(down, { onError: "accept" })).kind, "continue");
  assert.equal((await run(down, { onError: "reject" })).code, 552);
  assert.equal((await run(down, { onError: "tempfail" })).code, 451);
  assert.deepEqual(await run(down, { maxBytes: 10 }), { kind: "continue", first: undefined, code: 0 });
});

test("onProcessing effects become edits, recipients and verdicts", async () => {
  const { processor } = house(
    policyFilter((_, parsed) => ({
      action: "",
      explanation: "",
      origin: "",
      effects: [
        { kind: "addHeader", name: "X-Subject-Was", value: parsed.subject },
        { kind: "addRcpt", address: "copy@x" },
        { kind: "quarantine", text: "odd" },
      ],
    })),
  );
  const message = queued();
  const verdict = await processor.process(message, source());
  assert.ok(verdict.kind === "continue");
  assert.match((verdict.replacedBody as MemoryWriter).text, /^X-Subject-Was: hi\r\n/);
  assert.deepEqual(
    message.recipients.map((r) => r.address),
    ["one@l.example", "copy@x"],
  );
  assert.deepEqual(message.marks.quarantine, { reason: "odd" });
  const refusing = house(policyFilter(() => ({ action: "reject", explanation: "not here", origin: "r", effects: [] })));
  assert.deepEqual(await refusing.processor.process(queued(), source()), {
    kind: "reject",
    outcome: outcome.reject({
      code: 552,
      enhanced: "5.7.1",
      text: "Mail rejected by the processing module: not here",
      origin: "r",
    }),
  });
});
