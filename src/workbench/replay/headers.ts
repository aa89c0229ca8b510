/** The header section of a record, parsed when first asked for: most programs read no header. */
import { budgetDefaults } from "../../config/budget.ts";
import { type HeaderSection, parseHeaders } from "../../message/headers.ts";

/** `text`: the section's octets as latin1. */
export function headersOf(text: string): () => HeaderSection {
  let section: HeaderSection | undefined;
  return () => {
    section ??= parseHeaders(Buffer.from(text, "latin1"), budgetDefaults);
    return section;
  };
}
