/**
 * The real filters behind the live gateway and behind Postfix, the same messages through both: what is delivered and
 * what is answered must be equal, octet for octet. Masked are each side's own trace field and, of a signature, its time
 * and its value, which covers the time.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Lab, sendMessage } from "./lab.ts";
import { type Delivered, startPostfix, startSink, withoutTrace } from "./postfix.ts";
import {
  letters,
  runningFilters,
  startClamavMilter,
  startClamd,
  startOpendkim,
  startRspamd,
  startSpamassMilter,
  startSpamd,
} from "./scanner-daemons.ts";

const lab = new Lab();
after(() => lab.close());

function comparable({ from, to, text }: Delivered): Delivered {
  const masked = text.replace(/\bt=\d+;/g, "t=T;").replace(/\bb=[A-Za-z0-9+/=\s]+\r\n(?=\S)/g, "b=B\r\n");
  return { from, to, text: withoutTrace(masked) };
}

test("clamav-milter, spamass-milter, rspamd and opendkim: as Postfix delivers it", { timeout: 180_000 }, async (t) => {
  const [clamd, spamd, rspamd, opendkim] = await Promise.all([
    startClamd(t),
    startSpamd(t),
    startRspamd(t),
    startOpendkim(t),
  ]);
  if (clamd === undefined || spamd === undefined || rspamd === undefined || opendkim === undefined) return;
  const [viruses, spams] = await Promise.all([startClamavMilter(t, clamd.port), startSpamassMilter(t, spamd)]);
  if (viruses === undefined || spams === undefined) return;
  const { clean, spam, infected } = letters;
  const folded = clean.replace("Subject: test", "Subject: a subject\r\n that is folded\r\nX-Virus-Status: Infected");
  const filters = { "clamav-milter": viruses, "spamass-milter": spams, rspamd: rspamd.milter, opendkim: opendkim.port };
  const chains: Array<{ names: Array<keyof typeof filters>; refused: RegExp; fields: string[] }> = [
    {
      names: ["clamav-milter", "spamass-milter", "opendkim"],
      refused: /^550 5\.7\.1 (Virus found: Test\.EICAR-Body|Blocked by SpamAssassin)/,
      fields: ["X-Virus-Status: Clean", "X-Spam-Checker-Version:", "X-Spam-Level:", "DKIM-Signature:"],
    },
    { names: ["rspamd"], refused: /^554 5\.7\.1 Gtube pattern/, fields: ["X-Spamd-Bar:", "X-Spam-Status:"] },
  ];
  for (const { names, refused, fields } of chains) {
    await t.test(names.join(", "), async (t) => {
      const [theirSink, ourSink] = [await startSink(t), await startSink(t)];
      const ports = names.map((name) => filters[name]);
      const postfix = await startPostfix(t, ports, theirSink.port);
      if (postfix === undefined) return;
      const script = runningFilters(names.map((name) => [name, `inet:${filters[name]}@127.0.0.1`]));
      const routes = { "out.test": `[127.0.0.1]:${ourSink.port}` };
      const gateway = await lab.gateway({ domains: { routes } }, script);
      t.after(() => gateway.kill("SIGTERM"));
      const to = ["b@out.test", "c@out.test"];
      for (const [what, text] of Object.entries({ clean, folded, spam, infected })) {
        const sent = { from: "a@x.example", to, text };
        const theirs: string = (await sendMessage(postfix, sent)).at(-1)!;
        const ours = (await sendMessage(gateway.port, sent)).at(-1)!;
        if (theirs.startsWith("5")) {
          assert.match(theirs, refused, what);
          assert.equal(ours, theirs, what);
        } else {
          assert.match(theirs, /^250 /, what);
          assert.match(ours, /^250 /, what);
          const delivered = await theirSink.next();
          for (const field of fields)
            assert.ok(delivered.text.includes(`\n${field}`) || delivered.text.startsWith(field), field);
          assert.deepEqual(comparable(await ourSink.next()), comparable(delivered), what);
        }
      }
    });
  }
});
