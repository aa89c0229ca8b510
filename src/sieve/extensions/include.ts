/** RFC 6609: include, return and global variables. Reading and lowering included scripts: ../includes.ts. */
import { codes } from "../codes.ts";
import type { IncludeLocation } from "../includes.ts";
import type { Extension } from "../registry.ts";

/** §3.2: names of stored scripts; no path may be among them. */
function isScriptName(name: string): boolean {
  return (
    name !== "" &&
    name.length <= 255 &&
    !/[\x00-\x1f\x7f/\u0080-\u009f\u2028\u2029]/.test(name) &&
    name !== "." &&
    name !== ".."
  );
}

export const include: Extension = {
  capability: "include",
  specification: "RFC 6609",
  doc: {
    summary: "Runs another script: `:personal`, `:global`, `:once`, `:optional`.",
    example: `include :global "spam_tests";`,
  },
  commands: [
    {
      kind: "command",
      name: "include",
      positional: [{ name: "value", type: "string" }],
      tags: [{ name: "personal" }, { name: "global" }, { name: "once" }, { name: "optional" }],
      check(call, check) {
        if (call.tags.has("personal") && call.tags.has("global")) {
          check.error(
            call.tags.get("global")!.node,
            codes.include,
            "include: cannot use location tags ':personal' and ':global' multiple times",
          );
          return;
        }
        const name = check.constant(call.arguments[0]);
        if (name === undefined) {
          check.error(
            call.arguments[0]!,
            codes.include,
            "the include command requires a constant string for its value argument",
          );
        } else if (!isScriptName(name)) {
          check.error(call.arguments[0]!, codes.include, `include: invalid script name '${name.slice(0, 80)}'`);
        }
      },
      lower(call, to) {
        const span = call.node.span;
        const location: IncludeLocation = call.tags.has("global") ? "global" : "personal";
        const name = to.constants(call.arguments[0])?.[0] ?? "";
        const routine = to.includes.routine(location, name, call.tags.has("optional"), span);
        if (routine === undefined) return [];
        const run = { op: "call", routine, span } as const;
        const key = `${location}:${name}`;
        // §3.2: with :once a script that was included before, in whatever way, is passed over.
        const first = to.ask("firstInclude", span, [], { key });
        if (call.tags.has("once")) return [{ op: "if", test: first, then: [run], else: [], span }];
        return [to.effect("included", span, {}, { key }), run];
      },
    },
    {
      kind: "command",
      name: "return",
      positional: [],
      lower: (call) => [{ op: "return", span: call.node.span }],
    },
    {
      kind: "command",
      name: "global",
      positional: [{ name: "value", type: "list" }],
      check(call, check) {
        if (!check.scope.hasVariables) {
          check.error(
            { span: call.node.nameSpan },
            codes.variable,
            "global command requires that the variables extension is active",
            'add: require "variables";',
          );
          return;
        }
        for (const node of check.strings(call.arguments[0])) {
          if (!check.scope.bindGlobal(node.text))
            check.error(node, codes.variable, `invalid variable identifier '${node.text.slice(0, 80)}'`);
        }
      },
      lower: () => [],
    },
  ],
  evaluation: {
    asks: {
      firstInclude: (host, data) => {
        const key = data.key as string;
        if (host.included.has(key)) return false;
        host.included.add(key);
        return true;
      },
    },
    effects: {
      included: (host, data) => {
        host.included.add(data.key as string);
      },
    },
  },
};
