import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { ScriptFilters } from "../../../src/gateway/script-filters.ts";
import type { ClientInfo, Envelope } from "../../../src/message/envelope.ts";
import { WorkingMessage } from "../../../src/processing/content.ts";
import { memoryBody } from "../../../src/queue/body.ts";
import { packet, strings } from "../../../src/scanners/milter/codec.ts";
import { ScannerError } from "../../../src/scanners/types.ts";
import { filter, proceed } from "../scanners/fake-milter.ts";

const client: ClientInfo = {
  ...{ remoteIp: "192.0.2.1", remotePort: 99, localIp: "127.0.0.1", localPort: 25, ehlo: "c.test", esmtp: true },
  ...{ tls: "", authUser: "", protocol: "ESMTP", sessionId: "s" },
};
const envelope = (...to: string[]): Envelope => ({
  ...{ mailFrom: "a@b", rcptTo: to.map((address) => ({ address })), declaredSize: 0, body: "7BIT" },
  ...{ smtpUtf8: false, requireTls: false },
});
const scene = { client, clientName: "", id: "s" };
const named = (port: number, name = "f") => ({
  ...{ kind: "filter" as const, name, address: `inet:${port}@127.0.0.1`, timeoutMs: 300 },
});
const content = () => WorkingMessage.open(memoryBody(Buffer.from("Received: x\r\nTo: c\r\n\r\nhi\r\n")), budgetWith());

test("each stage is shown once, whenever the script asks", async (t) => {
  const { received, server } = await filter(t, {});
  const filters = new ScriptFilters("gw.test", budgetWith());
  filters.name(named(server.address.port));
  await filters.execute(scene);
  await filters.execute(scene);
  const mail = envelope("c@d");
  filters.begin(mail);
  await filters.execute({ ...scene, envelope: mail, recipient: "e@f" });
  await filters.execute({ ...scene, envelope: mail, recipient: "e@f" });
  await filters.execute({ ...scene, envelope: mail, content: await content() });
  await filters.close();
  assert.equal(
    received
      .map(({ command }) => command)
      .filter((command) => command !== "D")
      .join(""),
    "OCHMRRTLNBE",
  );
});

test("a refused recipient, in onRcptTo and later", async (t) => {
  const { server } = await filter(t, { R: packet("y", strings("550 5.1.1 nobody")) });
  const filters = new ScriptFilters("gw.test", budgetWith());
  filters.name(named(server.address.port));
  const mail = envelope();
  filters.begin(mail);
  const verdict = await filters.execute({ ...scene, envelope: mail, recipient: "e@f" });
  assert.deepEqual([verdict.result, verdict.outcome?.text], ["reject", "nobody"]);
  const late = new ScriptFilters("gw.test", budgetWith());
  const both = envelope("c@d", "e@f");
  late.begin(both);
  late.name(named(server.address.port));
  await late.execute({ ...scene, envelope: both });
  assert.deepEqual(late.changes.deleted, ["c@d", "e@f"]);
  await Promise.all([filters.close(), late.close()]);
});

test("limits: filters of a session, recipients that filters add", async (t) => {
  const { server, received } = await filter(t, {});
  const filters = new ScriptFilters("gw.test", budgetWith());
  for (let i = 0; i < 25; i++) filters.name(named(server.address.port, `f${i}`));
  filters.name(named(server.address.port, "f0"));
  await filters.execute(scene);
  assert.equal(received.filter(({ command }) => command === "O").length, 20);
  await filters.close();
  const adding = await filter(t, { E: [packet("+", strings("<x@y>")), packet("+", strings("<z@y>")), proceed] });
  const strict = new ScriptFilters("gw.test", budgetWith({ addedRecipients: 1 }));
  const mail = envelope("c@d");
  strict.begin(mail);
  strict.name(named(adding.server.address.port));
  const run = strict.execute({ ...scene, envelope: mail, content: await content() });
  await assert.rejects(run, { field: "addedRecipients" });
  await strict.close();
});

test("a filter that breaks fails the call and is begun anew by the next one", async (t) => {
  const { server, received } = await filter(t, { M: "close" });
  const filters = new ScriptFilters("gw.test", budgetWith());
  filters.name(named(server.address.port));
  const mail = envelope();
  filters.begin(mail);
  for (let i = 0; i < 2; i++) {
    await assert.rejects(filters.execute({ ...scene, envelope: mail }), (error) => error instanceof ScannerError);
  }
  assert.equal(received.filter(({ command }) => command === "O").length, 2);
  await filters.close();
});

test("a filter named after MAIL ends with the message", async (t) => {
  const { server, received } = await filter(t, {});
  const filters = new ScriptFilters("gw.test", budgetWith());
  filters.begin(envelope());
  filters.name(named(server.address.port));
  filters.begin(undefined);
  assert.equal((await filters.execute(scene)).result, "");
  assert.equal(received.length, 0);
});
