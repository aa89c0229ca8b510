import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import pino from "pino";
import { budgetWith } from "../../../src/config/budget.ts";
import { PolicyServices } from "../../../src/gateway/policy-services.ts";
import type { SmtpClientInfo } from "../../../src/smtp/incoming/hooks.ts";
import { fakeServer } from "../scanners/fake-server.ts";

const log = pino({ level: "silent" });
const client = { remoteIp: "192.0.2.1", ehlo: "c.test\nevil=1", esmtp: true, tls: "", authUser: "", sessionId: "s" };
const question = {
  client: client as SmtpClientInfo,
  clientName: "",
  envelope: {
    ...{ mailFrom: "a@b", rcptTo: [], declaredSize: 0, body: "7BIT" as const, smtpUtf8: false, requireTls: false },
  },
  recipient: "c@d",
  transaction: 1,
};

/** A service that gives the same answer each time; `asked` holds what it was sent. */
async function service(t: TestContext, answer: string, onError: "accept" | "tempfail" = "accept") {
  const asked: string[] = [];
  const server = await fakeServer(t, (socket) => {
    socket.on("data", (chunk: Buffer) => {
      asked.push(chunk.toString());
      socket.write(answer);
    });
  });
  const address = `127.0.0.1:${server.address.port}`;
  return { asked, server, config: { name: "s", address, timeout: 300, onError } };
}

function of(t: TestContext, ...services: Array<Awaited<ReturnType<typeof service>>>): PolicyServices {
  const made = new PolicyServices(
    services.map(({ config }) => config),
    budgetWith(),
    log,
  );
  t.after(() => made.close());
  return made;
}

test("actions become advice; a refusal or an OK ends the asking", async (t) => {
  const prepend = await service(t, "action=PREPEND X-Policy: seen\n\n");
  const hold = await service(t, "action=HOLD look at it\n\n");
  const refuse = await service(t, "action=DEFER_IF_PERMIT 4.2.0 later\n\n");
  const never = await service(t, "action=DISCARD\n\n");
  const advice = await of(t, prepend, hold, refuse, never).ask(question);
  assert.deepEqual(advice.effects, [
    { kind: "addHeader", name: "X-Policy", value: "seen" },
    { kind: "hold", text: "look at it" },
  ]);
  assert.deepEqual([advice.refusal?.code, advice.refusal?.enhanced], [450, "4.2.0"]);
  assert.equal(never.asked.length, 0);
  assert.match(prepend.asked[0]!, /^request=smtpd_access_policy\n[\s\S]*\nrecipient=c@d\n[\s\S]*\n\n$/);
  assert.doesNotMatch(prepend.asked[0]!, /^evil=1$/m, "no attribute of the client's");
  const ok = await service(t, "action=OK\n\n");
  assert.equal((await of(t, ok, never).ask(question)).discard, false);
  assert.equal((await of(t, never).ask(question)).discard, true);
});

test("a service that fails means what was declared", async (t) => {
  const garbage = await service(t, "nonsense\n\n");
  assert.equal((await of(t, garbage).ask(question)).refusal, undefined);
  const strict = await service(t, "", "tempfail");
  assert.equal((await of(t, strict).ask(question)).refusal?.code, 451);
});

test("a reload keeps the connections of entries that stay; a bad address changes nothing", async (t) => {
  const { config, server } = await service(t, "action=DUNNO\n\n");
  const services = new PolicyServices([config], budgetWith(), log);
  t.after(() => services.close());
  await services.ask(question);
  services.reload([config], budgetWith());
  await services.ask(question);
  assert.equal(server.connections, 1);
  assert.throws(() => services.reload([{ ...config, address: "nowhere" }], budgetWith()), RangeError);
  assert.equal(services.empty, false);
  await services.ask(question);
  services.reload([], budgetWith());
  assert.equal(services.empty, true);
});
