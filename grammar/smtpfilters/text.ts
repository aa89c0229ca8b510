/**
 * Inside of a string literal: escapes (L9) and `%name%` expansions (smtpfilters.md §10).
 * `%%` is a percent sign; a `%` that begins no `%name%` stands for itself; a backslash before anything but `"` and `\`
 * is kept, so that regular expressions survive. Pure, linear, never throws.
 */
import type { Text, TextPart } from "./ast.ts";

const expansion = /%([A-Za-z_][A-Za-z0-9_]*)%/y;

/** Reads a literal as it stands in the source, quotes included; `start` is its offset. */
export function readText(raw: string, start: number): Text {
  const parts: TextPart[] = [];
  let text = "";
  const last = raw.length - 1;
  for (let i = 1; i < last; ) {
    const char = raw[i]!;
    const next = raw[i + 1];
    if (char === "\\" && i + 1 < last && (next === '"' || next === "\\")) {
      text += next;
      i += 2;
    } else if (char === "%" && next === "%") {
      text += "%";
      i += 2;
    } else {
      expansion.lastIndex = i;
      const found = char === "%" ? expansion.exec(raw) : null;
      if (found) {
        if (text) parts.push({ text });
        text = "";
        parts.push({ name: found[1]!, start: start + i, end: start + i + found[0].length });
        i += found[0].length;
      } else {
        text += char;
        i++;
      }
    }
  }
  if (text) parts.push({ text });
  return { kind: "text", parts, raw, start, end: start + raw.length };
}

/** The constant value of a text, or undefined when it holds an expansion. */
export function constantText(text: Text): string | undefined {
  if (text.parts.length === 0) return "";
  const only = text.parts[0]!;
  return text.parts.length === 1 && "text" in only ? only.text : undefined;
}
