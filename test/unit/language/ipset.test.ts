import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseIp, parseIpSet, prefixesOf, rangeHas } from "../../../src/language/ipset.ts";

function has(set: string, address: string): boolean {
  const ip = parseIp(address);
  return ip !== undefined && (parseIpSet(set) ?? []).some((range) => rangeHas(range, ip));
}

test("the forms of a set", () => {
  const rows: Array<[set: string, address: string, expected: boolean]> = [
    ["10.56.56.0/255.255.255.0", "10.56.56.7", true],
    ["10.56.56.0/255.255.255.0", "10.56.57.7", false],
    ["10.56.56.9/24", "10.56.56.7", true],
    ["10.0.0.1-10.0.0.3", "10.0.0.3", true],
    ["10.0.0.1-10.0.0.3", "10.0.0.4", false],
    ["192.0.2.1", "192.0.2.1", true],
    ["192.0.2.1, 2001:db8::/32", "2001:DB8:ffff::1", true],
    ["192.0.2.1 10.0.0.0/8,", "10.9.9.9", true],
    ["[2001:db8::1]", "2001:db8:0:0:0:0:0:1", true],
    ["[2001:db8::]/64", "[2001:db8::5]", true],
    ["2001:db8::1-2001:db8::ff", "2001:db8::80", true],
    ["::/0", "10.0.0.1", false],
    ["10.0.0.0/8", "::ffff:10.0.0.1", false],
    ["::ffff:10.0.0.0/104", "::ffff:10.0.0.1", true],
    ["0.0.0.0/0", "255.255.255.255", true],
    ["10.1.0.0/255.0.255.0", "10.77.1.9", false],
    ["10.0.1.0/255.0.255.0", "10.77.1.9", true],
  ];
  for (const [set, address, expected] of rows) assert.equal(has(set, address), expected, `${address} in ${set}`);
});

test("malformed is neither in a set nor a set", () => {
  const addresses = [
    "",
    "1.2.3",
    "1.2.3.4.5",
    "256.1.1.1",
    "01.2.3.4",
    "1.2.3.4 ",
    "1..2.3",
    ":::",
    "1::2::3",
    "12345::",
  ];
  for (const text of [...addresses, "1:2:3:4:5:6:7", "::1%eth0", "[::1", "1.2.3.-4", "fe80::1.2.3.400"]) {
    assert.equal(parseIp(text), undefined, text);
  }
  for (const text of [
    "",
    " , ",
    "10.0.0.0/33",
    "::/129",
    "10.0.0.3-10.0.0.1",
    "10.0.0.1-::1",
    "10.0.0.0/::1",
    "10.0.0.0/8 x",
  ]) {
    assert.equal(parseIpSet(text), undefined, text);
  }
});

test("the prefixes of a range cover it and nothing else", () => {
  fc.assert(
    fc.property(fc.nat(2_000), fc.nat(2_000), fc.nat(2_100), (a, b, probe) => {
      const [first, last] = [BigInt(Math.min(a, b)), BigInt(Math.max(a, b))];
      const prefixes = prefixesOf({ bits: 32, first, last })!;
      const covered = prefixes.filter(
        ({ base, length }) => BigInt(probe) >> BigInt(32 - length) === base >> BigInt(32 - length),
      );
      assert.equal(covered.length, BigInt(probe) >= first && BigInt(probe) <= last ? 1 : 0);
    }),
    { numRuns: 300 },
  );
  assert.deepEqual(prefixesOf(parseIpSet("0.0.0.0-255.255.255.255")![0]!), [{ bits: 32, base: 0n, length: 0 }]);
  assert.equal(prefixesOf(parseIpSet("10.0.1.0/255.0.255.0")![0]!), undefined);
  assert.ok(prefixesOf(parseIpSet("::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe")![0]!)!.length <= 256);
});
