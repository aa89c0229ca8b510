/**
 * Parsing while typing: a script is cut into its top-level blocks, and those that did not change since the version
 * before keep their tree. Invariants: the answer is that of `parse` on the whole text; where any block has a problem,
 * the whole is parsed, since recovery from a mistake looks beyond the block.
 */
import type { Script } from "../../../../grammar/smtpfilters/ast.ts";
import { type ParseResult, parse } from "../../../../grammar/smtpfilters/parser.ts";
import { budgetDefaults } from "../../../config/budget.ts";
import type { Range } from "../language.ts";

interface ParsedBlock {
  start: number;
  script: Script;
}

/** By text; each text once, since a second block of the same text needs a tree of its own. */
export type ParsedBlocks = ReadonlyMap<string, ParsedBlock>;

const limits = { nesting: budgetDefaults.nesting };

export function parseBlocks(
  source: string,
  before: ParsedBlocks | undefined,
): { result: ParseResult; blocks: ParsedBlocks } {
  const blocks = new Map<string, ParsedBlock>();
  const script: Script = { blocks: [], comments: [] };
  for (const { start, end } of topLevelParts(source)) {
    const text = source.slice(start, end);
    const parsed = blocks.has(text) ? undefined : (before?.get(text) ?? parsedAt(text, start));
    if (parsed === undefined) return { result: parse(source, limits), blocks: before ?? blocks };
    const moved = parsed.start === start ? parsed : { start, script: shifted(parsed.script, start - parsed.start) };
    blocks.set(text, moved);
    script.blocks.push(...moved.script.blocks);
    script.comments.push(...moved.script.comments);
  }
  return { result: { script, problems: [] }, blocks };
}

/** Undefined when there is anything to report. */
function parsedAt(text: string, start: number): ParsedBlock | undefined {
  const { script, problems } = parse(text, limits);
  return problems.length > 0 ? undefined : { start, script: shifted(script, start) };
}

/** A copy with all offsets moved: every number of the tree is one. */
function shifted<T>(node: T, by: number): T {
  if (by === 0 || typeof node !== "object" || node === null) return node;
  if (Array.isArray(node)) return node.map((item) => shifted(item, by)) as T;
  const copy: Record<string, unknown> = {};
  for (const key in node) {
    const value: unknown = node[key];
    copy[key] = typeof value === "number" ? value + by : shifted(value, by);
  }
  return copy as T;
}

/** Blanks, comments and texts hold no brackets that count. */
const skipped = /"[^"\\]*(?:\\[\s\S][^"\\]*)*(?:"|$)|#[^\r\n]*|\/\*[^*]*(?:\*(?!\/)[^*]*)*(?:\*\/)?|[{}]/g;

/** The text in parts, each ending with a brace that leaves nothing open. */
export function topLevelParts(source: string): Range[] {
  const parts: Range[] = [];
  let start = 0;
  let depth = 0;
  for (const match of source.matchAll(skipped)) {
    if (match[0] === "{") depth++;
    else if (match[0] === "}") {
      depth = Math.max(0, depth - 1);
      if (depth > 0) continue;
      parts.push({ start, end: match.index + 1 });
      start = match.index + 1;
    }
  }
  if (start < source.length) parts.push({ start, end: source.length });
  return parts;
}
