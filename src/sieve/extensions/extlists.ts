/**
 * RFC 6134: named lists: the match type :list, the test valid_ext_list, and redirect to the members of a list
 * (redirect.ts). Membership comes with the input.
 */
import type { Extension } from "../registry.ts";

export const extlists: Extension = {
  capability: "extlists",
  specification: "RFC 6134",
  doc: {
    summary: "Match type :list, test valid_ext_list, and `:list` on redirect.",
    example: `if header :list "from" ":addrbook:default" { keep; }`,
  },
  tests: [
    {
      kind: "test",
      name: "valid_ext_list",
      positional: [{ name: "ext-list-names", type: "list" }],
      lower: (call, to) => to.ask("validExtList", call.node.span, to.values(call.arguments[0])),
    },
  ],
  tags: [
    { on: ["@match"], tag: { name: "list", group: "MATCH-TYPE" } },
    { on: ["redirect"], tag: { name: "list" } },
  ],
  evaluation: { asks: { validExtList: (host, _data, args) => args.every((name) => host.lists?.known(name) ?? false) } },
};
