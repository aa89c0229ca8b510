import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { lineView, nextControl } from "../../../src/message/line-scan.ts";

/** The same, octet by octet. */
function slowly(chunk: Uint8Array, from: number, to: number): number {
  for (let i = from; i < to; i++) if (chunk[i] === 0 || chunk[i] === 10 || chunk[i] === 13) return i;
  return to;
}

test("each octet value is judged rightly at each place of a step", () => {
  for (let value = 0; value < 256; value++) {
    for (let at = 0; at < 40; at++) {
      const chunk = Buffer.alloc(40, 0xff);
      chunk[at] = value;
      assert.equal(nextControl(chunk, lineView(chunk), 0, 40), slowly(chunk, 0, 40), `octet ${value} at ${at}`);
    }
  }
});

test("finds what a look at every octet finds, in any part of a view into a larger buffer", () => {
  const octet = fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0, 9, 10, 11, 12, 13, 14, 0x7f, 0x80, 0x8d));
  const cases = fc.tuple(fc.array(octet, { maxLength: 90 }), fc.nat(20), fc.nat(90), fc.nat(90));
  fc.assert(
    fc.property(cases, ([octets, shift, a, b]) => {
      const chunk = Buffer.concat([Buffer.alloc(shift, 10), Buffer.from(octets), Buffer.alloc(20, 13)]).subarray(
        shift,
        shift + octets.length,
      );
      const [from, to] = [Math.min(a, b), Math.max(a, b)].map((index) => Math.min(index, octets.length)) as [
        number,
        number,
      ];
      assert.equal(nextControl(chunk, lineView(chunk), from, to), slowly(chunk, from, to));
    }),
    { numRuns: 500 },
  );
});
