/** Pages made from the code are what the code would make now. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";
import { policiesPage } from "../../../rules/page.ts";
import { configJsonSchema, configPage } from "../../../src/config/docs.ts";

const docs = resolve(import.meta.dirname, "../../../docs");

test("docs/reference/config.md and config.schema.json (node src/config/docs.ts --write)", () => {
  assert.equal(readFileSync(resolve(docs, "reference/config.md"), "utf8"), configPage());
  const schema = JSON.parse(readFileSync(resolve(docs, "reference/config.schema.json"), "utf8")) as unknown;
  assert.deepEqual(schema, JSON.parse(JSON.stringify(configJsonSchema())));
});

test("docs/policies.md (node rules/page.ts --write)", async () => {
  assert.equal(readFileSync(resolve(docs, "policies.md"), "utf8"), await policiesPage());
});
