/** RFC 5173: tests of the body as it came (:raw), of decoded parts (:content) and of its text (:text). */
import type { MimePart } from "../../message/mime.ts";
import type { SieveHost } from "../host.ts";
import { withNested } from "../host.ts";
import { htmlToText } from "../html.ts";
import { envelopeEffects } from "../lower.ts";
import type { Extension, TagSpec } from "../registry.ts";

const transform = (name: string, value?: "list"): TagSpec => ({
  name,
  group: "BODY-TRANSFORM",
  ...(value ? { value } : {}),
});

/** §5.2: "" is any type, "text" a whole family, "text/html" one type; a type with two slashes is none. */
function typeMatches(part: MimePart, wanted: string): boolean {
  if (wanted === "") return true;
  if (wanted.startsWith("/") || wanted.endsWith("/") || wanted.split("/").length > 2) return false;
  return wanted.includes("/") ? part.mediaType === wanted : part.type === wanted;
}

/** §5.2: a multipart has its prologue and epilogue, a message its header section, other parts their content. */
function contentOf(part: MimePart): string[] {
  if (part.isMultipart) return outsideParts(part);
  if (part.nested !== undefined) {
    const nested = part.nested;
    return [nested.source.toString("utf8", nested.start, nested.bodyStart)];
  }
  return [part.text];
}

/** What stands before the first delimiter of a multipart, and what after its last, where there is anything. */
function outsideParts(part: MimePart): string[] {
  const first = part.children[0]?.start ?? part.end;
  const last = part.children.at(-1)?.end ?? part.end;
  const boundary = part.parameters.get("boundary") ?? "";
  const before = part.source.toString("utf8", part.bodyStart, first);
  const after = part.source.toString("utf8", last, part.end);
  // The line ends around a delimiter belong to it (RFC 2046 §5.1.1).
  const [prologue = ""] = before.split(`--${boundary}`);
  const epilogue = after.split(`--${boundary}--`)[1] ?? "";
  return [prologue.replace(/\r?\n$/, ""), epilogue.replace(/^[ \t]*\r?\n/, "")].filter((text) => text !== "");
}

function bodyTexts(host: SieveHost, kind: string, types: readonly string[]): string[] {
  // An empty body is no string at all, as in Pigeonhole.
  if (kind === "raw") return host.mail.body.length === 0 ? [] : [host.mail.body.toString("utf8")];
  const parts = [...withNested(host.mail.root)];
  if (kind === "content")
    return parts.filter((part) => types.some((type) => typeMatches(part, type))).flatMap(contentOf);
  // §5.3: text of text parts, markup removed.
  return parts
    .filter((part) => part.type === "text")
    .map((part) => (part.subtype === "html" ? htmlToText(part.text) : part.text));
}

export const body: Extension = {
  capability: "body",
  specification: "RFC 5173",
  doc: {
    summary: "Tests the message body.",
    example: `if body :text :contains "project schedule" { fileinto "project/schedule"; }`,
  },
  tests: [
    {
      kind: "test",
      name: "body",
      positional: [{ name: "key list", type: "list" }],
      match: true,
      tags: [transform("raw"), transform("text"), transform("content", "list")],
      lower(call, to) {
        const kind = call.tags.has("raw") ? "raw" : call.tags.has("content") ? "content" : "text";
        const value = call.tags.get("content")?.value;
        const types = to.constants(value)?.map((type) => type.toLowerCase());
        const data = { kind, ...(types ? { types } : {}) };
        return to.match(
          call,
          to.subject("body", data, ["replace", "enclose", ...envelopeEffects], types ? [] : to.values(value)),
          call.arguments[0],
          // Bodies set no match variables, as in Pigeonhole.
          { capture: false },
        );
      },
    },
  ],
  evaluation: {
    sources: {
      body: (host, data, args) =>
        bodyTexts(
          host,
          data.kind as string,
          (data.types as readonly string[] | undefined) ?? args.map((type) => type.toLowerCase()),
        ),
    },
  },
};
