/**
 * The ManageSieve listener of one worker: accounts keep their Sieve scripts over it (RFC 5804).
 * Invariants: settings of a reload hold for connections made after it; the address stays what it was at the start;
 * certificate files are watched, and one that does not load leaves the old in force. Failure: `openManageSieve` rejects
 * when a file can't be read or the port can't be had; `reload` throws for a listener that came, went or moved.
 */
import { readFileSync, unwatchFile, watchFile } from "node:fs";
import type { ScriptDatabase } from "../sieve/managesieve/database.ts";
import { type ManageSieveOptions, ManageSieveServer } from "../sieve/managesieve/server.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Live } from "./live.ts";
import { sieveSettings } from "./sieve-scripts.ts";
import { splitAddress } from "./supervisor.ts";

export interface ManageSieveListener {
  reload(live: Live): void;
  close(): Promise<void>;
}

/** Certificate and key are written one after the other: wait for both. */
const settleMs = 500;

export async function openManageSieve(live: Live, storage: ScriptDatabase, log: Logger): Promise<ManageSieveListener> {
  let current = live;
  const { address, tls } = wanted(live);
  const server = new ManageSieveServer(serverOptions(live, storage));
  await server.listen();

  const reload = (next: Live): void => {
    if (next.config.managesieve?.address !== address) {
      throw new RangeError(
        "the ManageSieve listener can't be added, removed or moved by a reload; restart the gateway",
      );
    }
    server.reload(serverOptions(next, storage));
    current = next;
  };
  let settling: NodeJS.Timeout | undefined;
  const changed = (): void => {
    clearTimeout(settling);
    settling = setTimeout(() => {
      try {
        reload(current);
      } catch (error) {
        log.error({ err: error }, "ManageSieve: the new certificate can't be used; the old one stays");
      }
    }, settleMs);
  };
  const watched = tls ? [tls.cert, tls.key] : [];
  const interval = live.config.smtp.certificateCheck;
  for (const file of watched) watchFile(file, { interval, persistent: false }, changed);
  return {
    reload,
    async close() {
      clearTimeout(settling);
      for (const file of watched) unwatchFile(file, changed);
      await server.close();
    },
  };
}

function wanted({ config }: Live): NonNullable<Live["config"]["managesieve"]> {
  if (config.managesieve === null) throw new RangeError("no ManageSieve listener is configured");
  return config.managesieve;
}

function serverOptions(live: Live, storage: ScriptDatabase): ManageSieveOptions {
  const { address, tls, plainTextAuth, scripts, scriptBytes, connections } = wanted(live);
  const { host, port } = splitAddress(address);
  return {
    host: host ?? "::",
    port,
    reusePort: true,
    ...(tls ? { tls: { cert: readFileSync(tls.cert), key: readFileSync(tls.key) } } : {}),
    ...{ storage, scripts, scriptBytes, connections, plainText: plainTextAuth },
    settings: sieveSettings(live.config),
    authenticate: async (username, password) => {
      const { ok, user } = await live.directory.authenticate({ mechanism: "PLAIN", username, authzid: "", password });
      return ok ? user : undefined;
    },
  };
}
