/**
 * Certificates by ACME (RFC 8555) as our users get them: lego orders from a real ACME server (pebble), the gateway serves
 * what it wrote, and the renewed certificate too, without a hook or a signal.
 */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { promisify } from "node:util";
import { selfSigned } from "../../src/smtp/incoming/selfsigned.ts";
import { canConnect, endOf, freePort, Lab, peer, until } from "./lab.ts";

const lab = new Lab();
after(() => lab.close());

const host = "mx.gw.test";

/** Serial number of the certificate that the listener shows for the host. */
async function serialAt(port: number): Promise<string> {
  const socket = connectTls({ port, host: "127.0.0.1", servername: host, rejectUnauthorized: false });
  await once(socket, "secureConnect");
  const { serialNumber } = socket.getPeerX509Certificate()!;
  socket.destroy();
  return serialNumber;
}

test("lego orders and renews; the gateway follows its files", { timeout: 120_000 }, async (t) => {
  const [pebble, lego] = [peer("pebble"), peer("lego")];
  if (!pebble || !lego) return t.skip(`needs ${pebble ? "lego" : "pebble"}`);
  const [directory, management, challenge] = [await freePort(), await freePort(), await freePort()];
  const own = selfSigned(["localhost"]);
  const at = (name: string): string => join(lab.folder, name);
  writeFileSync(at("acme.crt"), own.cert);
  writeFileSync(at("acme.key"), own.key);
  const listen = {
    listenAddress: `127.0.0.1:${directory}`,
    managementListenAddress: `127.0.0.1:${management}`,
    certificate: at("acme.crt"),
    privateKey: at("acme.key"),
    httpPort: challenge,
    tlsPort: challenge,
  };
  writeFileSync(at("pebble.json"), JSON.stringify({ pebble: listen }));
  // The name has no address here, so the server takes the challenge as met.
  const env = { ...process.env, PEBBLE_VA_NOSLEEP: "1", PEBBLE_VA_ALWAYS_VALID: "1", PEBBLE_WFE_NONCEREJECT: "0" };
  const server = spawn(pebble, ["-config", at("pebble.json")], { env, stdio: "ignore" });
  t.after(() => endOf(server, "SIGKILL"));
  await until("the ACME server", () => canConnect(directory));

  const order = (...command: string[]): Promise<unknown> => {
    const site = ["--server", `https://localhost:${directory}/dir`, "--http", "--http.port", `127.0.0.1:${challenge}`];
    const names = ["--email", "postmaster@gw.test", "--domains", host, "--path", at("lego")];
    const args = ["--accept-tos", ...site, ...names, ...command];
    return promisify(execFile)(lego, args, { env: { ...env, LEGO_CA_CERTIFICATES: at("acme.crt") } });
  };
  await order("run");
  const files = { cert: at(`lego/certificates/${host}.crt`), key: at(`lego/certificates/${host}.key`) };
  const port = await freePort();
  const gateway = await lab.gateway({
    listeners: [{ address: `127.0.0.1:${port}`, tls: { ...files, mode: "implicit" } }],
    smtp: { certificateCheck: "100ms" },
  });
  const first = await serialAt(port);

  const before = readFileSync(files.cert, "utf8");
  await order("renew", "--days", "9999", "--no-random-sleep");
  assert.notEqual(readFileSync(files.cert, "utf8"), before, "lego wrote a new certificate");
  for (const _worker of gateway.workers()) {
    await until("every worker shows the new one", async () => {
      const serials = await Promise.all(Array.from({ length: 8 }, () => serialAt(port)));
      return serials.every((serial) => serial !== first);
    });
  }
  await gateway.kill("SIGTERM");
});
