import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeResponse, encodeName, encodeQuery, recordData } from "../../../src/dns/packet.ts";
import { DnsError, type RecordType } from "../../../src/dns/types.ts";

const types: RecordType[] = ["A", "AAAA", "MX", "TXT", "PTR", "TLSA", "SRV", "CAA", "CNAME", "NS", "SOA"];

/** A response header and question for a.test, to be followed by anything. */
function response(answers: number, rest: Buffer): Buffer {
  const query = encodeQuery(7, encodeName("a.test")!, "A", false);
  query[2] = 0x81;
  query.writeUInt16BE(answers, 6);
  return Buffer.concat([query, rest]);
}

test("no bytes make the decoder throw anything but DnsError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 0, max: 20 }), (bytes, answers) => {
      for (const packet of [Buffer.from(bytes), response(answers, Buffer.from(bytes))]) {
        try {
          const decoded = decodeResponse(packet, 500);
          for (const record of decoded.answers) for (const type of types) recordData(decoded, record, type);
        } catch (error) {
          assert.ok(error instanceof DnsError, String(error));
        }
      }
    }),
    { numRuns: 500, seed: 1 },
  );
});

test("names survive the wire, up to 253 characters", () => {
  const longest = `${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(61)}`;
  assert.equal(longest.length, 253);
  assert.equal(encodeName(longest)!.length, 255);
  assert.equal(encodeName(`x${longest}`), undefined);
});

test("a name of more than 255 octets through pointers is malformed", () => {
  // Labels of 63 octets, each followed by a pointer to the one before.
  const parts: Buffer[] = [];
  let at = 24;
  let previous = 12;
  for (let i = 0; i < 5; i++) {
    parts.push(
      Buffer.concat([Buffer.from([63]), Buffer.alloc(63, 0x61), Buffer.from([0xc0 | (previous >> 8), previous & 255])]),
    );
    parts.push(Buffer.from([0, 1, 0, 1, 0, 0, 0, 0, 0, 0]));
    previous = at;
    at += 66 + 10;
  }
  assert.throws(() => decodeResponse(response(5, Buffer.concat(parts)), 500), /malformed/);
});

test("odd octets in labels can't be taken for dots", () => {
  const owner = Buffer.from([3, 0x61, 0x2e, 0x62, 0]);
  const record = Buffer.concat([owner, Buffer.from([0, 5, 0, 1, 0, 0, 0, 9, 0, 5]), owner]);
  const decoded = decodeResponse(response(1, record), 500);
  assert.equal(recordData(decoded, decoded.answers[0]!, "CNAME"), "a\\046b");
});
