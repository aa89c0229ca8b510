/**
 * Scanners of every kind that are down, slow, lie, close in the middle of an answer, or answer without end: the live
 * gateway tells the client 4xx, or lets the mail pass, as the script says; and goes on.
 */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { after, type TestContext, test } from "node:test";
import { fakeServer, flood } from "../unit/scanners/fake-server.ts";
import { freePort } from "./daemons.ts";
import { Lab, sendMessage } from "./lab.ts";
import { letters } from "./scanner-daemons.ts";

const lab = new Lab();
after(() => lab.close());

const timeout = "1s";

/** How each kind is configured, and how a good answer of it begins. */
const kinds: Record<string, { config(port: number): object; beginning: string }> = {
  clamav: { config: (port) => ({ type: "clamav", address: `127.0.0.1:${port}` }), beginning: "1: stre" },
  spamassassin: {
    config: (port) => ({ type: "spamassassin", address: `127.0.0.1:${port}` }),
    beginning: "SPAMD/1.1 0 EX_OK\r\nSpam: Fal",
  },
  rspamd: {
    config: (port) => ({ type: "rspamd", address: `127.0.0.1:${port}` }),
    beginning: 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"score":1,',
  },
  socket: {
    config: (port) => ({
      type: "socket",
      address: `127.0.0.1:${port}`,
      protocol: { request: [{ text: "SCAN\n" }], rules: [{ pattern: "^CLEAN" }] },
    }),
    beginning: "CLEA",
  },
  hook: {
    config: (port) => ({ type: "hook", url: `http://127.0.0.1:${port}/` }),
    beginning: 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"action":"accept"',
  },
  milter: { config: () => ({}), beginning: "\0\0\0\x0dO\0\0\0\x06" },
};

/** What each bad server does with a connection; "down": there is none. */
const manners: Record<string, ((socket: Socket, beginning: string) => void) | undefined> = {
  down: undefined,
  slow: (socket) => socket.resume(),
  lying: (socket) => socket.once("data", () => socket.write("\x01\x02 yes and no\r\n\0\r\n\r\n")),
  closing: (socket, beginning) => socket.once("data", () => socket.end(beginning, "latin1")),
  endless: (socket) => socket.once("data", () => flood(socket)).resume(),
};

async function listen(t: TestContext, manner: string, beginning: string): Promise<number> {
  const talk = manners[manner];
  if (talk === undefined) return freePort();
  return (await fakeServer(t, (socket) => talk(socket, beginning))).address.port;
}

test("a scanner that fails is a 4xx or passed by, as the script says", { timeout: 120_000 }, async (t) => {
  const scanners: object[] = [];
  const names: string[] = [];
  const milters: string[] = [];
  for (const [kind, { config, beginning }] of Object.entries(kinds)) {
    for (const manner of Object.keys(manners)) {
      const port = await listen(t, manner, beginning);
      const name = `${kind}-${manner}`;
      if (kind === "milter")
        milters.push(`if (is (mailFromUser, "${name}")) { set (filterAddress, "inet:${port}@127.0.0.1"); }`);
      else scanners.push({ ...config(port), name, timeout, use: "script" });
      names.push(name);
    }
  }
  const sink = await lab.sink();
  const routes = { "out.test": `[127.0.0.1]:${sink.port}` };
  // The sender names the scanner, his domain how patient the script is.
  const script = `event onDataReceived {
    set (filterName, "asked"); set (filterTimeout, "1"); set (filterAddress, "scanner:%mailFromUser%");
    ${milters.join("\n    ")}
    call (addMilterFilter);
    if (is (mailFromDomain, "lax.example")) { call (executeFilters) onError accept; } else { call (executeFilters); }
  }`;
  const gateway = await lab.gateway({ domains: { routes }, scanners }, script);
  t.after(async () => {
    await sink.stop();
    await gateway.kill("SIGTERM");
  });
  const workers = String(gateway.workers());
  const reply = async (from: string): Promise<string> =>
    (await sendMessage(gateway.port, { from, to: ["b@out.test"], text: letters.clean })).at(-1)!;
  await Promise.all(
    names.map(async (name) => {
      const began = Date.now();
      assert.match(await reply(`${name}@strict.example`), /^45\d 4\.7\.1 /, name);
      assert.match(await reply(`${name}@lax.example`), /^250 /, name);
      assert.ok(Date.now() - began < 20_000, `${name}: in time`);
      assert.ok(gateway.output().includes(`"fact":"executeFilters"`), "the failure is in the log");
    }),
  );
  assert.match(await reply("nobody-configured-this@strict.example"), /^45\d /, "a name that is not configured");
  assert.equal(String(gateway.workers()), workers, "no worker was lost");
});
