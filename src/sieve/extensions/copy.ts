/** RFC 3894: fileinto and redirect that leave the implicit keep alone. */
import type { Extension } from "../registry.ts";

export const copy: Extension = {
  capability: "copy",
  specification: "RFC 3894",
  doc: {
    summary: "`:copy` on fileinto and redirect keeps the implicit keep.",
    example: `redirect :copy "me@example.net";`,
  },
  tags: [{ on: ["fileinto", "redirect"], tag: { name: "copy" } }],
};
