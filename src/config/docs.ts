/**
 * The configuration's reference page and JSON Schema, both made from schema.ts.
 * `node src/config/docs.ts --write` writes docs/reference/config.md and docs/reference/config.schema.json; a test holds
 * them current.
 */
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
import { budgetDefaults } from "./budget.ts";
import { configSchema } from "./schema.ts";

interface JsonSchema {
  type?: string | string[];
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  pattern?: string;
  properties?: Record<string, JsonSchema>;
  additionalProperties?: JsonSchema | boolean;
  items?: JsonSchema;
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
}

/** JSON Schema (2020-12) of postern.yaml as it is written. */
export function configJsonSchema(): JsonSchema {
  return z.toJSONSchema(configSchema, { io: "input", unrepresentable: "any" }) as JsonSchema;
}

export function configPage(): string {
  const rows: string[] = [];
  walk(configJsonSchema(), "", rows);
  const limits = Object.entries(budgetDefaults).map(([name, value]) => `| \`limits.${name}\` | ${value} |`);
  return `# Configuration reference

Made from \`src/config/schema.ts\`; editors can use [config.schema.json](config.schema.json). Unknown keys are errors
with a suggestion; \`postern check postern.yaml\` tells of all mistakes at once. Durations are written \`30s\`, \`5m\`,
\`8h\`, \`2d\`, or as a number of seconds. Paths are relative to the file.

| key | form | default | meaning |
|---|---|---|---|
${rows.join("\n")}

## Limits

Every limit of the gateway; sizes in octets and times in milliseconds unless the name says otherwise.

| key | default |
|---|---|
${limits.join("\n")}
`;
}

function walk(schema: JsonSchema, path: string, rows: string[]): void {
  for (const [key, child] of Object.entries(schema.properties ?? {})) {
    const name = path === "" ? key : `${path}.${key}`;
    if (name === "limits") continue;
    const isObject = child.properties !== undefined;
    if (!isObject || child.description) {
      rows.push(`| \`${name}\` | ${form(child)} | ${defaultOf(child)} | ${cell(child.description ?? "")} |`);
    }
    walk(child, name, rows);
    for (const entry of [child.items, ...(child.anyOf ?? [])].filter((item) => item !== undefined)) {
      for (const item of [entry, ...(entry.oneOf ?? []), ...(entry.items ? [entry.items] : [])]) {
        if (item.properties) walk(item, `${name}[]`, rows);
      }
    }
  }
}

function form(schema: JsonSchema): string {
  if (schema.enum) return schema.enum.map((value) => `\`${String(value)}\``).join(" ");
  if (schema.const !== undefined) return `\`${String(schema.const)}\``;
  const options = schema.anyOf ?? schema.oneOf;
  if (options) return [...new Set(options.map(form))].join(" or ");
  if (schema.items) return `list of ${form(schema.items)}`;
  if (schema.properties) return "map";
  if (typeof schema.additionalProperties === "object") return `map to ${form(schema.additionalProperties)}`;
  return [schema.type ?? "any"].flat().join(" or ");
}

function defaultOf(schema: JsonSchema): string {
  return schema.default === undefined || schema.properties ? "" : `\`${cell(JSON.stringify(schema.default))}\``;
}

function cell(text: string): string {
  return text.replace(/\|/g, "\\|").replace(/\s+/g, " ");
}

if (import.meta.main && process.argv.includes("--write")) {
  const folder = resolve(import.meta.dirname, "../../docs/reference");
  writeFileSync(resolve(folder, "config.md"), configPage());
  writeFileSync(resolve(folder, "config.schema.json"), `${JSON.stringify(configJsonSchema(), null, 2)}\n`);
}
