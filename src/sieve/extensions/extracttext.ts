/** RFC 5703 §7: extracttext stores the text of the current part in a variable. */
import type { Value } from "../../language/ir.ts";
import { codes } from "../codes.ts";
import { htmlToText } from "../html.ts";
import type { Extension } from "../registry.ts";
import { loopsAround } from "./foreverypart.ts";
import { modifier, modifierNames, modifierOrder } from "./variables.ts";

export const extracttext: Extension = {
  capability: "extracttext",
  specification: "RFC 5703 §7",
  doc: {
    summary: "Text of a part into a variable.",
    example: `foreverypart { extracttext :first 100 "beginning"; break; }`,
  },
  commands: [
    {
      kind: "command",
      name: "extracttext",
      positional: [{ name: "varname", type: "string" }],
      tags: [{ name: "first", value: "number" }, ...modifierNames.map(modifier)],
      check(call, check) {
        const at = { span: call.node.nameSpan };
        if (!check.scope.hasVariables) {
          check.error(
            at,
            codes.variable,
            "the extracttext command requires that the variables extension is active",
            'add: require "variables";',
          );
          return;
        }
        const node = call.arguments[0]!;
        const name = node.kind === "string" ? node.text : "";
        const problem = check.scope.nameProblem(name);
        if (problem) check.error(node, codes.variable, problem);
        else check.scope.slot(name);
        if (loopsAround(check).length === 0) {
          check.error(at, codes.placement, "the extracttext command is not placed inside a foreverypart loop");
        }
      },
      lower(call, to) {
        const slot = to.scope.slot(to.constants(call.arguments[0])?.[0] ?? "")!;
        const first = call.tags.get("first")?.value;
        const data = first?.kind === "number" ? { first: first.value } : {};
        const text: Value = { op: "host", name: "partText", args: [], data };
        const value: Value = { op: "host", name: "assigned", args: [text], data: { modifiers: modifierOrder(call) } };
        return [{ op: "set", slot, value, span: call.node.span }];
      },
    },
  ],
  evaluation: {
    values: {
      partText: (host, data) => {
        const part = host.part;
        if (part === undefined || part.isMultipart || part.nested !== undefined) return "";
        const text = part.subtype === "html" ? htmlToText(part.text) : part.type === "text" ? part.text : "";
        const first = data.first as number | undefined;
        return first === undefined ? text : [...text.slice(0, first * 2)].slice(0, first).join("");
      },
    },
  },
};
