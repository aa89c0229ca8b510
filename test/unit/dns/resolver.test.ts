import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { createResolver, type ResolverOptions } from "../../../src/dns/resolver.ts";
import { DnsError, type Resolver } from "../../../src/dns/types.ts";
import { type DnsServer, type Misbehaviour, startDnsServer, type ZoneRecord } from "./server.ts";

interface Setup {
  server: DnsServer;
  resolver: Resolver;
}

async function withServer(
  zone: Record<string, ZoneRecord[]>,
  run: (setup: Setup) => Promise<void>,
  misbehave: Misbehaviour = {},
  options: Partial<ResolverOptions> = {},
): Promise<void> {
  const server = await startDnsServer(zone, misbehave);
  const resolver = createResolver({ servers: [server.address], budget: budgetWith(), timeoutMs: 300, ...options });
  try {
    await run({ server, resolver });
  } finally {
    resolver.close();
    await server.close();
  }
}

const failsWith = (kind: DnsError["kind"]) => (error: unknown) => error instanceof DnsError && error.kind === kind;

/** Offset of the first octet after the question of an answer. */
function afterQuestion(answer: Buffer): number {
  let at = 12;
  while (answer[at] !== 0) at += answer[at]! + 1;
  return at + 5;
}

test("every record type is decoded", async () => {
  const zone: Record<string, ZoneRecord[]> = {
    "a.test": [
      { A: "192.0.2.1" },
      { AAAA: "2001:db8::1" },
      { MX: [10, "Mx.a.test"] },
      { TXT: ["v=spf1 ", "-all"] },
      { NS: "ns.a.test" },
      { SRV: { priority: 1, weight: 2, port: 25, target: "s.a.test" } },
      { TLSA: Buffer.from([3, 1, 1, 0xab, 0xcd]) },
      { CAA: { flags: 128, tag: "issue", value: "ca.test" } },
    ],
    "1.2.0.192.in-addr.arpa": [{ PTR: "A.test" }],
  };
  await withServer(zone, async ({ resolver }) => {
    const records = async (type: Parameters<Resolver["resolve"]>[1]) =>
      (await resolver.resolve("A.test.", type)).records;
    assert.deepEqual(await records("A"), ["192.0.2.1"]);
    assert.deepEqual(await records("AAAA"), ["2001:db8::1"]);
    assert.deepEqual(await records("MX"), [{ preference: 10, exchange: "mx.a.test" }]);
    assert.deepEqual(await records("TXT"), ["v=spf1 -all"]);
    assert.deepEqual(await records("NS"), ["ns.a.test"]);
    assert.deepEqual(await records("SRV"), [{ priority: 1, weight: 2, port: 25, target: "s.a.test" }]);
    assert.deepEqual(await records("TLSA"), [
      { usage: 3, selector: 1, matchingType: 1, data: Uint8Array.of(0xab, 0xcd) },
    ]);
    assert.deepEqual(await records("CAA"), [{ flags: 128, tag: "issue", value: "ca.test" }]);
    assert.deepEqual((await resolver.resolve("1.2.0.192.in-addr.arpa", "PTR")).records, ["a.test"]);
  });
});

test("no such name and no data are answers, kept for the SOA's negative time", async () => {
  let now = 1_000_000;
  await withServer(
    { "a.test": [{ A: "192.0.2.1" }] },
    async ({ server, resolver }) => {
      assert.equal((await resolver.resolve("b.test", "A")).nxdomain, true);
      const noData = await resolver.resolve("a.test", "MX");
      assert.deepEqual([noData.nxdomain, noData.records.length, noData.ttl], [false, 0, 60]);
      now += 59_000;
      await resolver.resolve("b.test", "A");
      assert.equal(server.asked.length, 2);
      now += 2_000;
      await resolver.resolve("b.test", "A");
      assert.equal(server.asked.length, 3);
    },
    {},
    { now: () => now },
  );
});

test("a negative answer without SOA is not kept", async () => {
  await withServer(
    {},
    async ({ server, resolver }) => {
      await resolver.resolve("b.test", "A");
      await resolver.resolve("b.test", "A");
      assert.equal(server.asked.length, 2);
    },
    { negativeTtl: -1 },
  );
});

test("answers are kept for their TTL and the remaining TTL is told", async () => {
  let now = 0;
  await withServer(
    { "a.test": [{ A: "192.0.2.1" }] },
    async ({ server, resolver }) => {
      assert.equal((await resolver.resolve("a.test", "A")).ttl, 300);
      now = 299_000;
      assert.equal((await resolver.resolve("A.TEST", "A")).ttl, 1);
      assert.equal(server.asked.length, 1);
      now = 300_000;
      await resolver.resolve("a.test", "A");
      assert.equal(server.asked.length, 2);
    },
    {},
    { now: () => now },
  );
});

test("the cache holds no more than its entries and octets", async () => {
  const zone = Object.fromEntries(["a", "b", "c"].map((name) => [`${name}.test`, [{ A: "192.0.2.1" }]]));
  for (const limits of [{ dnsCacheEntries: 2 }, { dnsCacheOctets: 600 }]) {
    await withServer(
      zone,
      async ({ server, resolver }) => {
        for (const name of ["a", "b", "c", "a"]) await resolver.resolve(`${name}.test`, "A");
        assert.equal(server.asked.length, 4);
        await resolver.resolve("c.test", "A");
        assert.equal(server.asked.length, 4);
      },
      {},
      { budget: budgetWith(limits) },
    );
  }
});

test("the same question asked twice at once goes out once", async () => {
  await withServer({ "a.test": [{ A: "192.0.2.1" }] }, async ({ server, resolver }) => {
    await Promise.all([resolver.resolve("a.test", "A"), resolver.resolve("a.test", "A")]);
    assert.equal(server.asked.length, 1);
  });
});

test("a truncated answer is asked for over TCP, up to 64 KiB", async () => {
  const text = Array.from({ length: 250 }, () => "x".repeat(250));
  await withServer(
    { "a.test": [{ TXT: text }] },
    async ({ server, resolver }) => {
      const { records } = await resolver.resolve("a.test", "TXT");
      assert.equal(records[0]!.length, 62_500);
      assert.deepEqual(
        server.asked.map(({ transport }) => transport),
        ["udp", "tcp"],
      );
    },
    {},
    { timeoutMs: 3_000 },
  );
});

test("letter case is mixed, and a server that loses it is asked over TCP", async () => {
  await withServer(
    { "abcdefghijklmnopqrstuvwxyz.test": [{ A: "192.0.2.1" }] },
    async ({ server, resolver }) => {
      assert.deepEqual((await resolver.resolve("abcdefghijklmnopqrstuvwxyz.test", "A")).records, ["192.0.2.1"]);
      assert.notEqual(server.asked[0]!.name, server.asked[0]!.name.toLowerCase());
      assert.equal(server.asked.at(-1)!.transport, "tcp");
    },
    {
      reply(asked, _query, usual) {
        if (asked.transport === "tcp") return [usual];
        const lower = Buffer.from(usual);
        for (let at = 12; at < afterQuestion(usual) - 4; at++) {
          if (lower[at]! >= 0x41 && lower[at]! <= 0x5a) lower[at] = lower[at]! | 0x20;
        }
        return [lower];
      },
    },
  );
});

test("answers with a wrong id are not taken; many of them move the question to TCP", async () => {
  const wrongId = (usual: Buffer) => {
    const copy = Buffer.from(usual);
    copy.writeUInt16BE(usual.readUInt16BE(0) ^ 1, 0);
    return copy;
  };
  await withServer(
    { "a.test": [{ A: "192.0.2.1" }] },
    async ({ server, resolver }) => {
      assert.deepEqual((await resolver.resolve("a.test", "A")).records, ["192.0.2.1"]);
      assert.deepEqual(
        server.asked.map(({ transport }) => transport),
        ["udp", "tcp"],
      );
    },
    { reply: (asked, _query, usual) => (asked.transport === "udp" ? Array(20).fill(wrongId(usual)) : [usual]) },
  );
  await withServer(
    { "a.test": [{ A: "192.0.2.1" }] },
    async ({ resolver }) => {
      await assert.rejects(resolver.resolve("a.test", "A"), failsWith("timeout"));
    },
    { reply: (_asked, _query, usual) => [wrongId(usual)] },
    { timeoutMs: 60, tries: 1 },
  );
});

test("an answer to another question over TCP is malformed", async () => {
  await withServer(
    { "a.test": [{ A: "192.0.2.1" }] },
    async ({ resolver }) => {
      await assert.rejects(resolver.resolve("a.test", "A"), failsWith("malformed"));
    },
    {
      udpSize: 1,
      reply(asked, _query, usual) {
        if (asked.transport === "udp") return [usual];
        const other = Buffer.from(usual);
        other[13] = "b".charCodeAt(0);
        return [other];
      },
    },
  );
});

test("CNAMEs are followed inside an answer and beyond it, up to the limit", async () => {
  const zone: Record<string, ZoneRecord[]> = {
    "end.test": [{ A: "192.0.2.9" }],
    "loop.test": [{ CNAME: "loop.test" }],
  };
  for (let i = 0; i < 12; i++) zone[`c${i}.test`] = [{ CNAME: i === 0 ? "end.test" : `c${i - 1}.test` }];
  await withServer(zone, async ({ resolver }) => {
    const answer = await resolver.resolve("c7.test", "A");
    assert.deepEqual([answer.records, answer.canonicalName], [["192.0.2.9"], "end.test"]);
    await assert.rejects(resolver.resolve("c8.test", "A"), failsWith("limit"));
    await assert.rejects(resolver.resolve("loop.test", "A"), failsWith("limit"));
  });
});

test("more records than the budget are refused", async () => {
  const records = (count: number) => Array.from({ length: count }, (_, i) => ({ A: `192.0.2.${i % 250}` }));
  await withServer(
    { "ok.test": records(20), "big.test": records(600) },
    async ({ resolver }) => {
      assert.equal((await resolver.resolve("ok.test", "A")).records.length, 20);
      await assert.rejects(resolver.resolve("big.test", "A"), failsWith("limit"));
    },
    {},
    { timeoutMs: 3_000 },
  );
});

const damages: Record<string, (usual: Buffer) => Buffer> = {
  "a compression pointer to itself": (usual) => {
    const at = afterQuestion(usual);
    const copy = Buffer.from(usual);
    copy.writeUInt16BE(0xc000 | at, at);
    return copy;
  },
  "a pointer past the end": (usual) => {
    const copy = Buffer.from(usual);
    copy.writeUInt16BE(0xffff, afterQuestion(usual));
    return copy;
  },
  "a record length beyond the message": (usual) => {
    const copy = Buffer.from(usual);
    copy.writeUInt16BE(60_000, copy.length - 6);
    return copy;
  },
  "more records announced than sent": (usual) => {
    const copy = Buffer.from(usual);
    copy.writeUInt16BE(200, 6);
    return copy;
  },
  "an A record of three octets": (usual) => {
    const copy = Buffer.from(usual.subarray(0, -1));
    copy.writeUInt16BE(3, copy.length - 5);
    return copy;
  },
};

for (const [name, damage] of Object.entries(damages)) {
  test(`malformed: ${name}`, async () => {
    await withServer(
      { "a.test": [{ A: "192.0.2.1" }] },
      async ({ resolver }) => {
        await assert.rejects(resolver.resolve("a.test", "A"), failsWith("malformed"));
      },
      { reply: (_asked, _query, usual) => [damage(usual)] },
    );
  });
}

test("a silent server is left for the next one, and stands behind it for a while", async () => {
  const silent = await startDnsServer({}, { reply: () => [] });
  await withServer({ "a.test": [{ A: "192.0.2.1" }], "b.test": [{ A: "192.0.2.2" }] }, async ({ server }) => {
    const resolver = createResolver({
      servers: [silent.address, server.address],
      budget: budgetWith(),
      timeoutMs: 50,
    });
    assert.deepEqual((await resolver.resolve("a.test", "A")).records, ["192.0.2.1"]);
    assert.deepEqual((await resolver.resolve("b.test", "A")).records, ["192.0.2.2"]);
    assert.equal(silent.asked.length, 1);
    resolver.close();
  });
  await silent.close();
});

test("SERVFAIL and REFUSED are errors, remembered for a second", async () => {
  let now = 0;
  for (const [rcode, kind] of [
    [2, "servfail"],
    [5, "refused"],
  ] as const) {
    await withServer(
      {},
      async ({ server, resolver }) => {
        await assert.rejects(resolver.resolve("a.test", "A"), failsWith(kind));
        const asked = server.asked.length;
        await assert.rejects(resolver.resolve("a.test", "A"), failsWith(kind));
        assert.equal(server.asked.length, asked);
        now += 1_001;
        await assert.rejects(resolver.resolve("a.test", "A"), failsWith(kind));
        assert.ok(server.asked.length > asked);
      },
      { rcode },
      { now: () => now },
    );
  }
});

test("a server without EDNS is asked plainly", async () => {
  await withServer(
    { "a.test": [{ A: "192.0.2.1" }] },
    async ({ server, resolver }) => {
      assert.deepEqual((await resolver.resolve("a.test", "A")).records, ["192.0.2.1"]);
      assert.deepEqual(
        server.asked.map(({ edns }) => edns),
        [true, false],
      );
    },
    {
      reply(asked, query) {
        if (!asked.edns) return undefined;
        const refusal = Buffer.from(query.subarray(0, query.length - 11));
        refusal.writeUInt16BE(0x8001, 2);
        refusal.writeUInt16BE(0, 10);
        return [refusal];
      },
    },
  );
});

test("the AD bit of the upstream is told", async () => {
  const zone = { "a.test": [{ A: "192.0.2.1" }] };
  await withServer(zone, async ({ resolver }) => {
    assert.equal((await resolver.resolve("a.test", "A")).authenticated, false);
  });
  await withServer(
    zone,
    async ({ resolver }) => {
      assert.equal((await resolver.resolve("a.test", "A")).authenticated, true);
    },
    { authenticated: true },
  );
});

test("names that can't exist are not asked for", async () => {
  await withServer({}, async ({ server, resolver }) => {
    for (const name of ["a..test", `${"x".repeat(64)}.test`, `${"x.".repeat(130)}test`, ".test"]) {
      assert.equal((await resolver.resolve(name, "A")).nxdomain, true, name);
    }
    assert.equal(server.asked.length, 0);
  });
});

test("U-labels are asked as A-labels", async () => {
  await withServer({ "xn--bcher-kva.test": [{ A: "192.0.2.1" }] }, async ({ resolver }) => {
    assert.deepEqual((await resolver.resolve("bücher.test", "A")).records, ["192.0.2.1"]);
  });
});

test("a caller's deadline and closing end a look-up", async () => {
  await withServer(
    {},
    async ({ resolver }) => {
      await assert.rejects(resolver.resolve("a.test", "A", { timeoutMs: 20 }), failsWith("timeout"));
      const asked = resolver.resolve("b.test", "A");
      resolver.close();
      await assert.rejects(asked, failsWith("network"));
    },
    { reply: () => [] },
  );
});

test("questions beyond the limit wait for their turn", async () => {
  let out = 0;
  let most = 0;
  const zone = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`n${i}.test`, [{ A: "192.0.2.1" }]]));
  await withServer(
    zone,
    async ({ resolver }) => {
      const names = Object.keys(zone);
      const answers = await Promise.all(
        names.map(async (name) => {
          const answer = await resolver.resolve(name, "A");
          out -= 1;
          return answer;
        }),
      );
      assert.ok(answers.every(({ records }) => records.length === 1));
      assert.ok(most <= 3, `${most} at once`);
    },
    {
      delayMs: 5,
      reply() {
        out += 1;
        most = Math.max(most, out);
        return undefined;
      },
    },
    { budget: budgetWith({ dnsQueries: 3 }) },
  );
});

test("addresses of name servers are checked", () => {
  for (const address of ["ns.test", "127.0.0.1:99999", ""]) {
    assert.throws(() => createResolver({ servers: [address], budget: budgetWith() }), TypeError, address);
  }
  assert.throws(() => createResolver({ servers: [], budget: budgetWith() }), TypeError);
  createResolver({ servers: ["[::1]:5353", "::1", "192.0.2.1"], budget: budgetWith() }).close();
});
