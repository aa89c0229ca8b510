/** RFC 5260 §6: :index and :last choose one of several fields of a name. */

import { describe } from "../check.ts";
import { codes } from "../codes.ts";
import type { Extension, TagSpec } from "../registry.ts";

export const indexTag: TagSpec = {
  name: "index",
  value: "number",
  check(use, call, check) {
    if (use.value?.kind === "number" && use.value.value === 0) {
      check.error(use.value, codes.arguments, `the :index tag for the ${describe(call)} cannot be zero`);
    }
  },
};

export const lastTag: TagSpec = {
  name: "last",
  check(use, call, check) {
    const given = call.node.arguments.some(
      (argument) => argument.kind === "tag" && argument.name.toLowerCase() === "index",
    );
    if (!given) {
      check.error(
        use.node,
        codes.arguments,
        `the :last tag for the ${describe(call)} cannot be specified without the :index tag`,
      );
    }
  },
};

const on = ["header", "address", "date"];

export const index: Extension = {
  capability: "index",
  specification: "RFC 5260 §6",
  doc: {
    summary: "Looks at the n-th field of a name only.",
    example: `if header :index 1 :contains "received" "example.org" { keep; }`,
  },
  tags: [
    { on, tag: indexTag },
    { on, tag: lastTag },
  ],
};
