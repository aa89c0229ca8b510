/** docs/reference/sieve.md is current. */
import { equal, ok } from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { docsPath, renewed } from "../../../src/sieve/docs.ts";
import { registry } from "../../../src/sieve/extensions/index.ts";

test("generated parts are those of the code (node src/sieve/docs.ts --write)", () => {
  const document = readFileSync(docsPath, "utf8");
  equal(renewed(document), document);
  for (const capability of registry.capabilities) ok(document.includes(`\`${capability}\``), capability);
});
