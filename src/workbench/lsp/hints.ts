/**
 * From a diagnostic's hint to the edit that does what it says. Hints are written for people; the forms that can be done
 * by a machine are listed here, all others give no fix. Pure.
 */
import type { Diagnostic } from "../../language/diagnostic.ts";
import type { Edit, Fix } from "./language.ts";

/** Name in quotes of any kind or none: `did you mean onConnect?`, `did you mean ':contains'?`. */
const near = /^did you mean ["']?:?([^"'?]+)["']?\?$/;
const required = /^add: require "([^"]+)";$/;
const written = /^write ("%\w+%"|:\w+)$/;

/** `requireEdit`: how the language adds a capability. */
export function fixOf(
  diagnostic: Diagnostic,
  source: string,
  requireEdit: (capability: string) => Edit | undefined,
): Fix | undefined {
  const { hint, span } = diagnostic;
  if (hint === undefined) return undefined;
  const range = { start: span.start.offset, end: span.end.offset };
  const fix = (title: string, edit: Edit | undefined): Fix | undefined => edit && { title, diagnostic, edit };
  const nearName = near.exec(hint)?.[1];
  if (nearName !== undefined) {
    const text = inTheManner(source.slice(range.start, range.end), nearName);
    return fix(`Change to ${text}`, { ...range, text });
  }
  const capability = required.exec(hint)?.[1];
  if (capability !== undefined) return fix(`Add require "${capability}"`, requireEdit(capability));
  const replacement = written.exec(hint)?.[1];
  if (replacement !== undefined) return fix(`Write ${replacement}`, { ...range, text: replacement });
  if (hint === 'a statement ends with ";"') return fix("Insert ;", { start: range.start, end: range.start, text: ";" });
  if (hint === 'end the text with "') {
    const eol = source.slice(range.start).search(/[\r\n]|$/) + range.start;
    return fix("Close the text", { start: eol, end: eol, text: '"' });
  }
  if (hint === "remove onError") {
    const lead = /\s*onError\s+$/i.exec(source.slice(0, range.start))?.[0] ?? "";
    return fix("Remove onError", { start: range.start - lead.length, end: range.end, text: "" });
  }
  return undefined;
}

/** The new name with the signs that stood around the old one. */
function inTheManner(old: string, name: string): string {
  if (old.startsWith('"')) return `"${name}"`;
  if (old.startsWith("%")) return `%${name}%`;
  return old.startsWith(":") ? `:${name}` : name;
}
