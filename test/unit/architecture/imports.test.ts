/** Imports between folders run downwards only, as docs/architecture.md draws them. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { test } from "node:test";

const root = resolve(import.meta.dirname, "../../..");

/** Lower number = lower layer; a folder may import its own layer's siblings only where the layer says so. */
const layers: ReadonlyArray<{ folders: readonly string[]; amongThemselves: boolean }> = [
  { folders: ["grammar"], amongThemselves: false },
  {
    folders: [
      "src/config",
      "src/language",
      "src/message",
      "src/dns",
      "src/state",
      "src/store",
      "src/telemetry",
      "src/directory",
    ],
    amongThemselves: true,
  },
  {
    folders: ["src/policy", "src/sieve", "src/checks", "src/scanners", "src/workbench/record"],
    amongThemselves: true,
  },
  { folders: ["src/smtp", "src/processing", "src/queue", "src/delivery"], amongThemselves: true },
  { folders: ["src/gateway"], amongThemselves: false },
  { folders: ["src/workbench"], amongThemselves: true },
  { folders: ["src/cli"], amongThemselves: false },
];

function layerOf(file: string): number {
  return layers.findIndex((layer) => layer.folders.some((folder) => file.startsWith(`${folder}/`)));
}

function folderOf(file: string): string {
  return layers.flatMap((layer) => layer.folders).find((folder) => file.startsWith(`${folder}/`)) ?? "";
}

/** Border files of a folder that lower layers may name: type contracts without code. */
const contracts = new Set(["src/policy/types.ts", "src/queue/types.ts", "src/cli/command.ts", "src/language/span.ts"]);

test("imports run downwards only", () => {
  const wrong: string[] = [];
  let edges = 0;
  for (const top of ["src", "grammar"]) {
    for (const name of readdirSync(join(root, top), { recursive: true, encoding: "utf8" })) {
      if (!name.endsWith(".ts")) continue;
      const file = join(top, name);
      const text = readFileSync(join(root, file), "utf8");
      for (const match of text.matchAll(/^\s*(?:import|export)[^;]*?from "(\.[^"]+)"/gms)) {
        const target = relative(root, resolve(root, dirname(file), match[1]!));
        edges++;
        const from = layerOf(file);
        const to = layerOf(target);
        if (from < 0 || to < 0) wrong.push(`${file} → ${target}: outside the layers`);
        else if (to > from && !contracts.has(target)) wrong.push(`${file} → ${target}: upwards`);
        else if (to === from && folderOf(file) !== folderOf(target) && !layers[from]!.amongThemselves)
          wrong.push(`${file} → ${target}: sideways`);
      }
    }
  }
  assert.ok(edges > 20, "the test must see imports");
  assert.deepEqual(wrong, []);
});
