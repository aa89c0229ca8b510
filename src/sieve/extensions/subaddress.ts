/** RFC 5233: :user and :detail parts of an address, split at the configured delimiter (addressPart in address.ts). */
import type { Extension } from "../registry.ts";

export const subaddress: Extension = {
  capability: "subaddress",
  specification: "RFC 5233",
  doc: {
    summary: "Address parts :user and :detail.",
    example: `if envelope :detail "to" "billing" { fileinto "Billing"; }`,
  },
  tags: [
    { on: ["@address"], tag: { name: "user", group: "ADDRESS-PART" } },
    { on: ["@address"], tag: { name: "detail", group: "ADDRESS-PART" } },
  ],
};
