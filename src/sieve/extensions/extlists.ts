/** RFC 6134: named lists: the match type :list and the test valid_ext_list. Membership comes with the input. */
import type { Extension } from "../registry.ts";

export const extlists: Extension = {
  capability: "extlists",
  specification: "RFC 6134",
  doc: {
    summary: "Match type :list and test valid_ext_list.",
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
  tags: [{ on: ["@match"], tag: { name: "list", group: "MATCH-TYPE" } }],
  evaluation: { asks: { validExtList: (host, _data, args) => args.every((name) => host.lists?.known(name) ?? false) } },
};
