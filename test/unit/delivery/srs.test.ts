import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Srs } from "../../../src/delivery/srs.ts";

const day = 86_400_000;
const at = (now: number, ...secrets: string[]) => new Srs({ domain: "fwd.example", secrets, now: () => now });
const now = 20_000 * day;

test("there and back", () => {
  const srs = at(now, "secret-one-1");
  const rewritten = srs.forward("ann@x.example");
  assert.match(rewritten, /^SRS0=[A-Za-z0-9+/]{4}=[A-Z2-7]{2}=x\.example=ann@fwd\.example$/);
  assert.equal(srs.reverse(rewritten), "ann@x.example");
  assert.equal(srs.reverse(rewritten.toLowerCase()), "ann@x.example", "mailers may change the case");
});

test("null path and own addresses stay as they are", () => {
  const srs = at(now, "secret-one-1");
  assert.equal(srs.forward(""), "");
  assert.equal(srs.forward("ann@FWD.example"), "ann@FWD.example");
  assert.equal(srs.reverse("SRS0=aaaa=AA=x.example=ann@elsewhere.example"), undefined);
});

test("what another forwarder rewrote becomes SRS1 and goes back to that forwarder", () => {
  const first = new Srs({ domain: "first.example", secrets: ["first-secret"], now: () => now });
  const srs = at(now, "secret-one-1");
  const once = first.forward("ann@x.example");
  const twice = srs.forward(once);
  assert.match(twice, /^SRS1=[A-Za-z0-9+/]{4}=first\.example==/);
  assert.equal(srs.reverse(twice), once);
  const third = new Srs({ domain: "third.example", secrets: ["third-secret"], now: () => now });
  const thrice = third.forward(twice);
  assert.equal(third.reverse(thrice), once, "SRS1 skips the hop between");
});

test("forged, aged and future addresses are refused", () => {
  const srs = at(now, "secret-one-1");
  const good = srs.forward("ann@x.example");
  assert.equal(srs.reverse(good.replace("=ann@", "=bob@")), undefined);
  assert.equal(srs.reverse(good.replace("SRS0=", "SRS0=x")), undefined);
  assert.equal(at(now + 21 * day, "secret-one-1").reverse(good), "ann@x.example");
  assert.equal(at(now + 22 * day, "secret-one-1").reverse(good), undefined);
  assert.equal(at(now - 2 * day, "secret-one-1").reverse(good), undefined);
});

test("keys rotate: the newest signs, older ones still verify", () => {
  const old = at(now, "old-secret-0").forward("ann@x.example");
  assert.equal(at(now, "new-secret-0", "old-secret-0").reverse(old), "ann@x.example");
  assert.equal(at(now, "new-secret-0").reverse(old), undefined);
  assert.throws(() => at(now, "short"), RangeError);
  assert.throws(() => at(now), RangeError);
});

test("any address survives the round trip", () => {
  const srs = at(now, "secret-one-1");
  const local = fc.string({
    unit: fc.constantFrom("a", "Z", "=", "+", "-", ".", "0", "_"),
    minLength: 1,
    maxLength: 40,
  });
  fc.assert(
    fc.property(local, (part) => {
      const address = `${part}@x.example`;
      assert.equal(srs.reverse(srs.forward(address)), address);
    }),
    { numRuns: 300 },
  );
});
