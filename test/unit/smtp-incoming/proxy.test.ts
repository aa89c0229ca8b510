import assert from "node:assert/strict";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";
import fc from "fast-check";
import { readProxyHeader } from "../../../src/smtp/incoming/proxy.ts";
import { selfSigned } from "../../../src/smtp/incoming/selfsigned.ts";
import { readXattributes } from "../../../src/smtp/incoming/xclient.ts";
import { Client, withSite } from "./site.ts";

const signature2 = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);

function version2(command: number, family: number, body: Buffer): Buffer {
  const head = Buffer.from([0x20 | command, family, body.length >> 8, body.length & 255]);
  return Buffer.concat([signature2, head, body]);
}

const ipv4Body = Buffer.from([192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x00, 0x19]);
const expected4 = { remoteIp: "192.0.2.7", localIp: "10.0.0.1", remotePort: 12_345, localPort: 25 };

test("version 1 headers", () => {
  const read = (text: string) => readProxyHeader(Buffer.from(text), 0);
  assert.deepEqual(read("PROXY TCP4 192.0.2.7 10.0.0.1 12345 25\r\nEHLO"), { end: 40, addresses: expected4 });
  assert.deepEqual(read("PROXY UNKNOWN\r\n"), { end: 15, addresses: {} });
  assert.equal(read("PROXY TCP4 192.0.2.7 10.0.0.1 12345 25"), "more");
  assert.equal(read("PRO"), "more");
  assert.equal(read("EHLO x\r\n"), "none");
  for (const bad of [
    "PROXY TCP4 2001:db8::1 10.0.0.1 1 25\r\n",
    "PROXY TCP4 192.0.2.7 10.0.0.1 99999 25\r\n",
    "PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
    "PROXY UDP4 192.0.2.7 10.0.0.1 1 25\r\n",
    `PROXY ${"x".repeat(200)}`,
  ]) {
    assert.equal(read(bad), "bad", bad);
  }
});

test("version 2 headers", () => {
  assert.deepEqual(readProxyHeader(version2(1, 0x11, ipv4Body), 0), { end: 28, addresses: expected4 });
  const tlv = Buffer.concat([ipv4Body, Buffer.from([4, 0, 1, 0])]);
  assert.deepEqual(readProxyHeader(version2(1, 0x11, tlv), 0), { end: 32, addresses: expected4 });
  assert.deepEqual(readProxyHeader(version2(0, 0, Buffer.alloc(0)), 0), { end: 16, addresses: {} });
  const six = Buffer.alloc(36);
  six[15] = 1;
  six[31] = 2;
  assert.deepEqual(readProxyHeader(version2(1, 0x21, six), 0), {
    end: 52,
    addresses: { remoteIp: "0:0:0:0:0:0:0:1", localIp: "0:0:0:0:0:0:0:2", remotePort: 0, localPort: 0 },
  });
  assert.equal(readProxyHeader(version2(1, 0x11, ipv4Body.subarray(0, 8)), 0), "bad");
  assert.equal(readProxyHeader(version2(5, 0x11, ipv4Body), 0), "bad");
  assert.equal(readProxyHeader(version2(1, 0x11, ipv4Body).subarray(0, 20), 0), "more");
  assert.equal(readProxyHeader(version2(1, 0x11, Buffer.alloc(5_000)), 0), "bad");
});

test("no input makes the reader throw", () => {
  const octets = fc.uint8Array({ maxLength: 60 });
  fc.assert(
    fc.property(octets, fc.boolean(), (tail, second) => {
      readProxyHeader(Buffer.concat([second ? signature2 : Buffer.from("PROXY "), tail]), 0);
    }),
    { numRuns: 300, seed: 3 },
  );
});

test("a trusted proxy's client is the client, under implicit TLS too", () =>
  withSite(
    { proxy: { trusted: ["127.0.0.1"] }, tls: { mode: "implicit", certificates: [selfSigned(["mx.test"])] } },
    async (site) => {
      const raw = await site.client();
      raw.socket.removeAllListeners("data");
      // Header and ClientHello may come in one packet: cork them together.
      raw.socket.cork();
      raw.write(version2(1, 0x11, ipv4Body));
      const client = new Client(connectTls({ socket: raw.socket, rejectUnauthorized: false }));
      setImmediate(() => raw.socket.uncork());
      await client.hello();
      await client.toData();
      await client.ask("\r\nx\r\n.");
      assert.equal(site.received[0]?.client.remoteIp, "192.0.2.7");
      assert.equal(site.received[0]?.client.remotePort, 12_345);
      client.end();
    },
  ));

test("headers: from others they are a bad command; a required one that is missing ends the connection", async () => {
  await withSite({ budget: { lingerMs: 50 } }, async (site) => {
    const client = await site.client();
    await client.reply();
    assert.match(await client.ask("PROXY TCP4 192.0.2.7 10.0.0.1 12345 25"), /^500/);
    client.end();
  });
  await withSite(
    { proxy: { trusted: ["127.0.0.1"], required: true }, budget: { proxyHeaderMs: 100 } },
    async (site) => {
      const rude = await site.client();
      rude.write("EHLO x\r\n");
      assert.deepEqual(await rude.rest(), []);
      const silent = await site.client();
      assert.deepEqual(await silent.rest(), []);
    },
  );
  await withSite({ proxy: { trusted: ["127.0.0.1"] } }, async (site) => {
    const split = await site.client();
    for (const octet of "PROXY TCP4 192.0.2.7 10.0.0.1 12345 25\r\n") split.write(octet);
    assert.match(await split.reply(), /^220/);
    split.end();
  });
});

test("XCLIENT makes a new client of the session; XFORWARD is kept beside it", () =>
  withSite({ xclientTrusted: ["127.0.0.1"] }, async (site) => {
    const client = await site.client();
    assert.match(await client.hello(), /XCLIENT NAME ADDR/);
    assert.match(
      await client.ask("XCLIENT ADDR=IPV6:2001:db8::9 HELO=other.test PROTO=ESMTP LOGIN=joe PORT=77"),
      /^220/,
    );
    assert.ok(site.events.includes("close XCLIENT"));
    await client.ask("EHLO again.test");
    assert.match(await client.ask("XFORWARD NAME=far.test IDENT=Q+2B1"), /^250/);
    await client.toData();
    await client.ask("\r\nx\r\n.");
    const [{ client: info } = assert.fail()] = site.received;
    assert.deepEqual(
      [info.remoteIp, info.remotePort, info.authUser, info.forwarded],
      ["2001:db8::9", 77, "joe", { NAME: "far.test", IDENT: "Q+1" }],
    );
    assert.match(await client.ask("XCLIENT ADDR=nonsense"), /^501/);
    client.end();
  }));

test("XCLIENT values: unavailable, malformed, control bytes", () => {
  assert.deepEqual(readXattributes("NAME=[UNAVAILABLE] ADDR=192.0.2.1"), { NAME: "", ADDR: "192.0.2.1" });
  for (const bad of ["FOO=1", "ADDR", "ADDR=1.2", "PORT=x", "HELO=a+0D+0Ab", "PROTO=HTTP"]) {
    assert.equal(readXattributes(bad), undefined, bad);
  }
});
