/**
 * What we ship with: the production tree of package-lock.json is small, each package has a licence we know, none runs a
 * script when it is installed, and each comes from the npm registry with a digest.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const licences = new Set([
  "MIT",
  "MIT-0",
  "ISC",
  "Apache-2.0",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "BlueOak-1.0.0",
  "PDDL-1.0",
]);
const most = 70;

interface Locked {
  version?: string;
  resolved?: string;
  integrity?: string;
  license?: string;
  dev?: boolean;
  hasInstallScript?: boolean;
}

const lock = JSON.parse(readFileSync(join(import.meta.dirname, "../../../package-lock.json"), "utf8")) as {
  packages: Record<string, Locked>;
};
const production = Object.entries(lock.packages).filter(([path, { dev }]) => path !== "" && !dev);

test("the production tree is small", () => {
  assert.ok(production.length > 0 && production.length <= most, `${production.length} packages`);
});

test("every licence is known", () => {
  const unknown = production.filter(([, { license }]) => !licences.has(license ?? ""));
  assert.deepEqual(
    unknown.map(([path, { license }]) => `${path}: ${license}`),
    [],
  );
});

test("no package runs a script when it is installed", () => {
  assert.deepEqual(
    production.filter(([, { hasInstallScript }]) => hasInstallScript).map(([path]) => path),
    [],
  );
});

test("every package has a digest", () => {
  assert.deepEqual(
    production.filter(([, { integrity }]) => !integrity?.startsWith("sha512-")).map(([path]) => path),
    [],
  );
});
