import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import {
  addressText,
  inNetwork,
  isSpecial,
  networkKey,
  parseAddress,
  parseNetwork,
  reverseName,
} from "../../../src/checks/address.ts";

test("addresses are read as the platform reads them", () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.string({ maxLength: 12 })), (text) => {
      const address = parseAddress(text);
      assert.equal(address !== undefined, net.isIP(text) !== 0 && !text.includes("%"), text);
      if (address === undefined) return;
      assert.equal(address.octets.length, address.family === 4 ? 4 : 16);
      assert.deepEqual(parseAddress(addressText(address)), address);
    }),
    { numRuns: 500, seed: 1 },
  );
});

test("networks agree with the platform's block list", () => {
  fc.assert(
    fc.property(fc.ipV6(), fc.integer({ min: 0, max: 128 }), fc.ipV6(), (base, prefix, other) => {
      const network = parseNetwork(`${base}/${prefix}`)!;
      const address = parseAddress(other)!;
      if (network.address.family === 4 || address.family === 4) return;
      const list = new net.BlockList();
      list.addSubnet(addressText(network.address), prefix, "ipv6");
      assert.equal(inNetwork(address, network), list.check(addressText(address), "ipv6"));
    }),
    { numRuns: 300, seed: 1 },
  );
});

test("mapped addresses and their networks are IPv4", () => {
  assert.deepEqual(parseAddress("::ffff:192.0.2.1"), parseAddress("192.0.2.1"));
  assert.deepEqual(parseNetwork("::ffff:192.0.2.0/120"), parseNetwork("192.0.2.0/24"));
  assert.equal(parseNetwork("::ffff:0:0/64")!.address.family, 6);
  assert.notDeepEqual(parseAddress("::192.0.2.1"), parseAddress("192.0.2.1"));
});

test("what is no network", () => {
  for (const text of [
    "",
    "/",
    "192.0.2.1/",
    "192.0.2.1/33",
    "192.0.2.1/-1",
    "2001:db8::/129",
    "fe80::1%eth0",
    "1.2.3",
  ]) {
    assert.equal(parseNetwork(text), undefined, text);
  }
});

test("keys of networks and names of PTR records", () => {
  assert.equal(networkKey(parseAddress("192.0.2.77")!, 26), "192.0.2.64/26");
  assert.equal(networkKey(parseAddress("2001:db8:1:2:3::4")!, 64), "2001:db8:1:2::/64");
  assert.equal(reverseName(parseAddress("192.0.2.1")!), "1.2.0.192.in-addr.arpa");
  assert.equal(reverseName(parseAddress("2001:db8::1")!).length, 72);
  assert.deepEqual(
    ["10.1.1.1", "100.64.0.1", "169.254.0.1", "fe80::1", "8.8.8.8", "2001:4860::1"].map((ip) =>
      isSpecial(parseAddress(ip)!),
    ),
    [true, true, true, true, false, false],
  );
});
