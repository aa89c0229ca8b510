/** Suite `geoip`: every network of the test databases' source data has its country. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Suite, SuiteResult } from "../../telemetry/suite.ts";
import { openMmdb } from "../geoip/database.ts";
import { expectEqual, readCases, runCases } from "./case.ts";

interface Source {
  country?: { iso_code?: string; names?: { en?: string } };
  continent?: { code?: string };
}

const databases = ["GeoIP2-Country-Test", "GeoLite2-Country-Test"];

async function runDatabase(dir: string, name: string): Promise<SuiteResult> {
  const database = openMmdb(await readFile(join(dir, `${name}.mmdb`)));
  const source = await readCases<Array<Record<string, Source>>>(dir, `${name}.json`);
  return runCases(
    "geoip",
    source.flatMap((entry) => Object.entries(entry)),
    ([network]) => `${name} ${network}`,
    ([network, expected]) => {
      const { country, countryName, continent } = database.lookup(network.slice(0, network.indexOf("/")));
      return (
        expectEqual("country", country, expected.country?.iso_code ?? "") ||
        expectEqual("name", countryName, expected.country?.names?.en ?? "") ||
        expectEqual("continent", continent, expected.continent?.code ?? "")
      );
    },
  );
}

export const geoipSuite: Suite = {
  name: "geoip",
  async run(dir) {
    const results = await Promise.all(databases.map((name) => runDatabase(dir, name)));
    return {
      name: "geoip",
      passed: results.reduce((sum, result) => sum + result.passed, 0),
      failed: results.flatMap((result) => result.failed),
      skipped: results.reduce((sum, result) => sum + result.skipped, 0),
    };
  },
};
