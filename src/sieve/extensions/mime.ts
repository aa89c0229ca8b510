/** RFC 5703 §4: header, address and exists tests of MIME parts and of the pieces of their structured fields. */

import { describe } from "../check.ts";
import { codes } from "../codes.ts";
import type { Extension, TagSpec } from "../registry.ts";
import { mimePieces } from "./subjects.ts";

/** A tag that means something only beside :mime. */
const withMime = (name: string, value?: "list"): TagSpec => ({
  name,
  ...(value ? { value } : {}),
  after(call, check) {
    const use = call.tags.get(name)!;
    const pieces = ["type", "subtype", "contenttype", "param"].filter((tag) => call.tags.has(tag));
    if (!call.tags.has("mime")) {
      check.error(
        use.node,
        codes.arguments,
        `the :${name} tag for the ${describe(call)} cannot be specified without the :mime tag`,
      );
    } else if (pieces.length > 1 && pieces[0] === name) {
      check.error(
        use.node,
        codes.arguments,
        `the :type, :subtype, :contenttype, and :param arguments for the ${describe(call)} are mutually exclusive, but more than one was specified`,
      );
    }
  },
});

export const mime: Extension = {
  capability: "mime",
  specification: "RFC 5703 §4",
  doc: {
    summary: "`:mime`, `:anychild`, `:type`, `:subtype`, `:contenttype` and `:param`.",
    example: `if header :mime :anychild :param "filename" :matches "content-disposition" "*.exe" { discard; }`,
  },
  tags: [
    { on: ["header", "address", "exists"], tag: { name: "mime" } },
    { on: ["header", "address", "exists"], tag: withMime("anychild") },
    { on: ["header"], tag: withMime("type") },
    { on: ["header"], tag: withMime("subtype") },
    { on: ["header"], tag: withMime("contenttype") },
    { on: ["header"], tag: withMime("param", "list") },
  ],
  evaluation: { sources: { mimeHeader: mimePieces } },
};
