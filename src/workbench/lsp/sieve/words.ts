/**
 * Every command, test and tag of the Sieve registry with the capability it comes with, and the words for hovers and
 * completions (Markdown). Built once from the declarations of the extensions.
 */
import { registry } from "../../../sieve/extensions/index.ts";
import type { CommandSpec, Extension, HybridSpec, PositionalSpec, TagSpec, TestSpec } from "../../../sieve/registry.ts";

type Spec = CommandSpec | TestSpec | HybridSpec;

export interface Word {
  name: string;
  spec: Spec;
  extension: Extension;
}

export interface TagWord {
  tag: TagSpec;
  extension: Extension;
}

const commandWords = new Map<string, Word>();
const testWords = new Map<string, Word>();
for (const extension of registry.extensions.values()) {
  const add = (into: Map<string, Word>, spec: Spec): void =>
    void into.set(spec.name, { name: spec.name, spec, extension });
  for (const spec of extension.commands ?? []) add(commandWords, spec);
  for (const spec of extension.tests ?? []) add(testWords, spec);
  for (const spec of extension.hybrids ?? []) {
    add(commandWords, spec);
    add(testWords, spec);
  }
}

export const commands: ReadonlyMap<string, Word> = commandWords;
export const tests: ReadonlyMap<string, Word> = testWords;

export const findWord = (kind: "command" | "test", name: string): Word | undefined =>
  (kind === "command" ? commands : tests).get(name.toLowerCase());

/** Tags that a construct takes, its own and those of other extensions. */
export function tagsOf({ spec, extension }: Word): TagWord[] {
  const found = (spec.tags ?? []).map((tag) => ({ tag, extension }));
  for (const other of registry.extensions.values()) {
    for (const { on, tag } of other.tags ?? []) {
      const applies =
        on.includes(spec.name) ||
        (spec.match && on.includes("@match")) ||
        (spec.addressPart && on.includes("@address"));
      if (applies) found.push({ tag, extension: other });
    }
  }
  return found;
}

/** "fileinto <mailbox>": the construct with its positional arguments. */
function usage({ spec }: Word): string {
  const positional: readonly PositionalSpec[] = spec.positional === "custom" ? [] : spec.positional;
  const parts = positional.map(({ name, type }) => `<${name}: ${type}>`);
  if (spec.tests) parts.push(spec.tests === "one" ? "<test>" : "(<test>, …)");
  return [spec.name, ...parts].join(" ");
}

export const requirement = ({ capability }: Extension): string =>
  capability === "" ? "base language" : `require "${capability}"`;

export function wordDoc(word: Word): string {
  const { extension } = word;
  const tags = tagsOf(word).map(({ tag }) => `\`:${tag.name}\``);
  const parts = [`**${usage(word)}**`, `${extension.specification}, ${requirement(extension)}`];
  if (extension.capability !== "") parts.push(capabilityDoc(extension));
  if (tags.length > 0) parts.push(`Tags: ${tags.join(", ")}`);
  return parts.join("\n\n");
}

export const tagDoc = ({ tag, extension }: TagWord): string =>
  `**:${tag.name}${tag.value ? ` <${tag.value}>` : ""}**\n\n${extension.specification}, ${requirement(extension)}`;

export const capabilityDoc = ({ doc }: Extension): string => `${doc.summary}\n\n\`\`\`sieve\n${doc.example}\n\`\`\``;
