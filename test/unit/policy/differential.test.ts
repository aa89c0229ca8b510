/**
 * The compiled program against the rules as written: random scripts over random sessions must end in the same results,
 * variables, exports and calls, in whatever way they were compiled. And: no text of an author becomes code.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { compilePolicy } from "../../../src/policy/compile.ts";
import { decodeScript } from "../../../src/policy/source.ts";
import type { EventName, FactSource, PolicySession } from "../../../src/policy/types.ts";
import { compiled } from "./session.ts";

const values = ["", "a", "A", "b.example", "x.b.example", "10.0.0.7", "12", "-1"];
const value = fc.constantFrom(...values);
const own = fc.constantFrom("v", "w");
const readable = fc.oneof(
  own,
  fc.constantFrom("mailFrom", "mailFromDomain", "remoteSmtpIp", "SPFResult", "maxDataSize"),
);
const text = fc.oneof(
  value,
  readable.map((name) => `%${name}%`),
  fc.tuple(value, readable).map(([v, n]) => `${v}%${n}%`),
);
const comparison = fc.oneof(
  fc
    .tuple(fc.constantFrom("is", "isCase", "contains", "containsCase", "inDomain"), readable, text)
    .map(([c, n, t]) => `${c} (${n}, "${t}")`),
  fc
    .tuple(fc.constantFrom("greaterThan", "lessThan"), readable, fc.constantFrom("-1", "0", "12"))
    .map(([c, n, t]) => `${c} (${n}, "${t}")`),
  readable.map((n) => `ipRange (${n}, "10.0.0.0/24")`),
  fc
    .tuple(fc.constantFrom("match", "matchCase"), readable, fc.constantFrom("^a", "b.*e", "[0-9]+$"))
    .map(([c, n, t]) => `${c} (${n}, "${t}")`),
  fc.tuple(readable, fc.constantFrom("1/1h", "2/1h")).map(([n, l]) => `rate ("%${n}%", "${l}")`),
  fc.constantFrom("subject", "none").map((n) => `contains (header ("${n}"), "a")`),
);
const condition = fc.oneof(
  { weight: 3, arbitrary: comparison },
  fc
    .tuple(fc.constantFrom("anyOf", "allOf"), fc.array(comparison, { minLength: 1, maxLength: 3 }))
    .map(([c, l]) => `${c} (${l.join(", ")})`),
  comparison.map((c) => `not (${c})`),
);
const { statement } = fc.letrec<{ statement: string }>((tie) => {
  const body = fc.array(tie("statement"), { maxLength: 3 }).map((list) => `{ ${list.join(" ")} }`);
  return {
    statement: fc.oneof(
      { depthSize: "small" },
      fc.tuple(own, text).map(([n, t]) => `set (${n}, "${t}");`),
      fc
        .tuple(
          fc.constantFrom("smtpAction", "smtpExplanation", "maxDataSize"),
          fc.oneof(text, fc.constantFrom("reject", "accept")),
        )
        .map(([n, t]) => `set (${n}, "${t}");`),
      fc
        .constantFrom("checkSPF) onError reject", "checkDNSBL) onError ignore", "m", "n")
        .map((n) => `call (${n}${n.includes(")") ? "" : ")"};`),
      fc.oneof(own, fc.constant("mailFrom")).map((n) => `export (${n});`),
      text.map((t) => `log ("${t}");`),
      fc.tuple(condition, body).map(([c, b]) => `if (${c}) ${b}`),
      fc
        .tuple(condition, body, condition, body, body)
        .map(([c, b, d, e, f]) => `if (${c}) ${b} else if (${d}) ${e} else ${f}`),
    ),
  };
});
const block = fc.array(statement, { maxLength: 6 }).map((list) => list.join("\n"));
const script = fc
  .tuple(block, block, block, block)
  .map(
    ([one, two, m, n]) =>
      `event onEhlo { ${one} }\nevent onMailFrom { ${two} }\nmethod m { ${m.replaceAll("call (m)", "call (n)")} }\nmethod n { ${n.replace(/call \([mn]\);/g, "")} }`,
  );

const sessionInputs = fc.record({
  mailFrom: value,
  mailFromDomain: value,
  remoteSmtpIp: value,
  spf: fc.constantFrom("pass", "fail", "error", "later"),
  subject: value,
});
type Inputs = typeof sessionInputs extends fc.Arbitrary<infer T> ? T : never;

/** Everything that can be seen of a session. */
async function observe(make: (facts: FactSource) => PolicySession, inputs: Inputs): Promise<unknown[]> {
  const seen: unknown[] = [];
  const hits = new Map<string, number>();
  const session = make({
    call: (name, read) => {
      seen.push([name, read("mailFrom")]);
      if (inputs.spf === "error") throw new Error("no answer");
      const facts = { SPFResult: inputs.spf, DNSBLResult: "127.0.0.2" };
      return inputs.spf === "later" ? Promise.resolve(facts) : facts;
    },
    header: (name) => (name === "subject" ? [inputs.subject] : []),
    rate: (key, limit) => {
      seen.push(["rate", key, limit]);
      hits.set(key, (hits.get(key) ?? 0) + 1);
      return hits.get(key)! > 1;
    },
  });
  for (const round of ["first", "second"]) {
    session.input("remoteSmtpIp", inputs.remoteSmtpIp);
    seen.push([round, await session.run("onEhlo")]);
    session.input("mailFrom", inputs.mailFrom);
    session.input("mailFromDomain", inputs.mailFromDomain);
    seen.push(await session.run("onMailFrom"), session.exports());
    for (const name of ["SPFResult", "DNSBLResult", "maxDataSize", "smtpAction"]) seen.push(session.read(name));
    session.resetMessage();
    seen.push(session.exports());
  }
  return seen;
}

const silent = { test: () => {}, statement: () => {} };

test("compiled and interpreted sessions can't be told apart", async () => {
  await fc.assert(
    fc.asyncProperty(script, fc.array(sessionInputs, { minLength: 8, maxLength: 8 }), async (source, sessions) => {
      const policy = compiled(source);
      for (const inputs of sessions) {
        const fast = await observe((facts) => policy.session("smtpIn", facts), inputs);
        const plain = await observe((facts) => policy.tracedSession("smtpIn", facts, {}, silent), inputs);
        // Look-ups may start earlier than written; everything else keeps its order.
        assert.deepEqual(fast, plain, source);
      }
    }),
    { numRuns: 150, seed: 3 },
  );
});

const breakers = [
  "');globalThis.broken=1;('",
  '\\");globalThis.broken=1;(\\"',
  `$${"{globalThis.broken=1}"}`,
  "`;globalThis.broken=1;`",
  "*/globalThis.broken=1;/*",
  "\u2028globalThis.broken=1;\u2028",
  "\\u0022);globalThis.broken=1",
  "__proto__",
  "constructor",
  "</script>",
];

test("no text of an author becomes code, in any place where a text may stand", async () => {
  const events: EventName[] = ["onConnect", "onEhlo", "onMailFrom", "onHeadersReceived", "onRelay"];
  for (const breaker of breakers) {
    const quoted = `"${breaker}"`;
    const source = `event onConnect { set (smtpGreeting, ${quoted}); log (${quoted}); rule ${quoted} { tag (${quoted}); } }
      event onEhlo { set (maxDataSize, ${quoted}); set (DNSBLServer, ${quoted}); }
      event onMailFrom {
        set (v, ${quoted}); export (v); set (smtpExplanation, "${breaker}%v%");
        if (anyOf (is (mailFrom, ${quoted}), isCase (v, ${quoted}), contains (v, ${quoted}), inDomain (mailFrom, ${quoted}),
          greaterThan (mailFrom, ${quoted}), inList (mailFrom, ${quoted}), rate (${quoted}, "1/1h"))) { hold (${quoted}); } }
      event onHeadersReceived { set (headerName, ${quoted}); set (headerValue, ${quoted}); call (addHeader);
        if (is (header ("Subject"), ${quoted})) { addBcc (${quoted}); } }
      event onRelay { set (remoteSmtpHost, ${quoted}); set (authPass, ${quoted}); }`;
    const policy = compiled(source);
    for (const event of events) {
      const context = event === "onRelay" ? "smtpOut" : "smtpIn";
      await policy.session(context, { call: () => ({}), rate: () => false, header: () => [breaker] }).run(event);
    }
    assert.equal((globalThis as Record<string, unknown>).broken, undefined, breaker);
  }
});

test("any bytes as a script: diagnostics or a program, never a throw", () => {
  const bits = fc.constantFrom(
    ...'event onConnect { } method set call if anyOf is ( ) , ; " % \\ x7 header rate inList else not # \n é'.split(
      " ",
    ),
  );
  const soup = fc.array(bits, { maxLength: 80 }).map((list) => Buffer.from(list.join(" ")));
  fc.assert(
    fc.property(
      fc.oneof(
        soup,
        fc.uint8Array({ maxLength: 400 }),
        script.map((s) => Buffer.from(s).subarray(3)),
      ),
      (bytes) => {
        const result = compilePolicy(decodeScript(bytes), { file: "fuzz", strict: true });
        assert.ok(Array.isArray(result.diagnostics));
      },
    ),
    { numRuns: 300, seed: 5 },
  );
});

/** Texts that once did harm. */
const corpus = [
  'event onConnect { if (allOf (is (a, "4"))) { set (ndrSender,); set (b, "c")Case (SPFResult, "fail"))) { } } }',
  "event onConnect { if () { } }",
  'event onConnect { rule { } not (is (a, "b")); header (, "x"); }',
];

test("shipped scripts with bytes changed, cut, doubled and moved: diagnostics or a program", () => {
  const folders = ["../../../rules/default.script", "../../../rules/inbound-mx.script", "fixtures/wizard.script"];
  const seeds = folders.map((name) => readFileSync(resolve(import.meta.dirname, name)));
  const change = fc.tuple(fc.nat(2), fc.nat(6_000), fc.uint8Array({ minLength: 1, maxLength: 8 }), fc.nat(200));
  const mutant = fc
    .tuple(fc.constantFrom(...seeds), fc.array(change, { minLength: 1, maxLength: 6 }))
    .map(([seed, changes]) =>
      changes.reduce((bytes: Buffer, [kind, place, other, length]) => {
        const at = place % (bytes.length + 1);
        const middle = kind === 0 ? other : kind === 1 ? Buffer.alloc(0) : bytes.subarray(length, length * 2);
        return Buffer.concat([bytes.subarray(0, at), middle, bytes.subarray(kind === 1 ? at + length : at)]);
      }, seed),
    );
  fc.assert(
    fc.property(fc.oneof(mutant, fc.constantFrom(...corpus.map((text) => Buffer.from(text)))), (bytes) => {
      compilePolicy(decodeScript(bytes), { file: "fuzz", strict: true });
    }),
    { numRuns: 100, seed: 11 },
  );
});

test("bytes that are not UTF-8 are read as Latin-1, line by line", () => {
  assert.equal(decodeScript(Buffer.from("\ufeffa\n\u00e9\n")), "a\né\n");
  assert.equal(decodeScript(Buffer.concat([Buffer.from("é\n"), Buffer.from([0xe9, 0x0a])])), "é\né\n");
});
