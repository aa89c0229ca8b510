/** Decision records end to end: the running gateway writes them, `postern replay` and `postern explain --id` read them. */
import assert from "node:assert/strict";

import { join } from "node:path";
import { after, test } from "node:test";
import { readRecords } from "../../src/workbench/record/read.ts";

import type { DecisionRecord } from "../../src/workbench/record/types.ts";
import { type Gateway, Lab, sendMessage, until } from "./lab.ts";

const lab = new Lab();
after(() => lab.close());

const policy = `event onMailFrom {
  if (is (mailFrom, "bad@sender.test")) { set (smtpAction, "reject"); set (smtpExplanation, "not %mailFrom%"); }
}
event onRcptTo {
  if (is (rcptTo, "full@local.test")) { set (smtpAction, "tmpreject"); set (smtpExplanation, "mailbox full"); }
}
event onHeadersReceived {
  if (contains (header ("Subject"), "viagra")) { set (smtpAction, "reject"); set (smtpExplanation, "no"); }
}
`;

async function records(gateway: Gateway, count: number): Promise<DecisionRecord[]> {
  return until(`${count} records`, async () => {
    const found: DecisionRecord[] = [];
    for await (const batch of readRecords(join(gateway.folder, "var", "records"))) found.push(...batch);
    return found.length >= count && found;
  });
}

test("decisions are recorded with their ids in replies, replayed and explained", { timeout: 60_000 }, async () => {
  const gateway = await lab.gateway(
    {
      record: { enabled: true, idsInReplies: true, headers: "full" },
      accounts: [{ address: "user@local.test" }],
    },
    policy,
  );
  const bad = await sendMessage(gateway.port, { from: "bad@sender.test", to: ["user@local.test"], text: "a\n" });
  assert.match(bad.at(-1)!, /^550 5\.7\.1 not bad@sender\.test \[[0-9a-z]{13}\]$/);
  const good = await sendMessage(gateway.port, {
    from: "a@sender.test",
    to: ["user@local.test"],
    text: "Subject: hello\n\nhi\n",
  });
  assert.match(good.at(-1)!, /^250 .*\[[0-9a-z]{13}\]$/);
  const spam = await sendMessage(gateway.port, {
    from: "a@sender.test",
    to: ["user@local.test"],
    text: "Subject: cheap viagra\n\nhi\n",
  });
  assert.match(spam.at(-1)!, /^550 /);
  assert.equal((await records(gateway, 3)).length, 3);
  await gateway.kill("SIGTERM");
});
