/**
 * The kept corpora: one folder a target, one file an input, named by its digest. `npm test` runs them all; findings that
 * were fixed stay as `finding-*`.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const folder = join(import.meta.dirname, "corpus");
/** Inputs kept of each target: the smallest, so that a repository can hold them. */
const kept = 40;
const keptBytes = 1_500;

export function readCorpus(target: string): Buffer[] {
  const path = join(folder, target);
  if (!existsSync(path)) return [];
  return readdirSync(path)
    .sort()
    .map((name) => readFileSync(join(path, name)));
}

export function writeCorpus(target: string, inputs: readonly Buffer[]): void {
  const path = join(folder, target);
  mkdirSync(path, { recursive: true });
  const room = Math.max(0, kept - readdirSync(path).length);
  const small = inputs.filter(({ length }) => length <= keptBytes).sort((a, b) => a.length - b.length);
  for (const input of small.slice(-room || small.length).slice(0, room))
    writeFileSync(join(path, digest(input)), input);
}

/** Answers the file's name. */
export function writeFinding(target: string, input: Buffer): string {
  const path = join(folder, target);
  mkdirSync(path, { recursive: true });
  const file = join(path, `finding-${digest(input)}`);
  writeFileSync(file, input);
  return file;
}

function digest(input: Buffer): string {
  return createHash("sha1").update(input).digest("hex").slice(0, 12);
}
