/** RFC 5228 §2.4.2.4: ${hex:…} and ${unicode:…}. Decoding itself is part of reading strings (strings.ts). */
import type { Extension } from "../registry.ts";

export const encodedCharacter: Extension = {
  capability: "encoded-character",
  specification: "RFC 5228 §2.4.2.4",
  changesReading: true,
  doc: {
    summary: "Characters by number in strings.",
    example: `if header "subject" "$\{unicode:20AC} 100" { discard; }`,
  },
};
