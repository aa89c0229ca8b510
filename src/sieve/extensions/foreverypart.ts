/** RFC 5703 §3: foreverypart and break. The walk over parts is the host's (eachBegin in ../host.ts). */

import type { Checker } from "../check.ts";
import { codes } from "../codes.ts";
import type { Call, Extension } from "../registry.ts";

/** Loops in loops. */
const maxLoops = 4;

/** Loops around the call being checked, outermost first. */
export function loopsAround(check: Checker): Call[] {
  return check.enclosing.filter((call) => call.spec.name === "foreverypart");
}

function nameOf(call: Call, check: Checker): string | undefined {
  return check.constant(call.tags.get("name")?.value);
}

export const foreverypart: Extension = {
  capability: "foreverypart",
  specification: "RFC 5703 §3",
  doc: {
    summary: "Loops over the MIME parts of a message.",
    example: `foreverypart { if header :mime :type "content-type" "application" { discard; break; } }`,
  },
  commands: [
    {
      kind: "command",
      name: "foreverypart",
      positional: [],
      block: true,
      tags: [{ name: "name", value: "string" }],
      check(call, check) {
        if (loopsAround(check).length >= maxLoops) {
          check.error(
            { span: call.node.nameSpan },
            codes.limit,
            `the nested foreverypart loop exceeds the nesting limit (<= ${maxLoops} levels)`,
          );
        }
      },
      lower(call, to) {
        const name = to.constants(call.tags.get("name")?.value)?.[0];
        to.loops++;
        const body = to.block(call.block ?? []);
        to.loops--;
        return [
          {
            op: "each",
            source: "parts",
            data: {},
            body,
            ...(name === undefined ? {} : { name }),
            span: call.node.span,
          },
        ];
      },
    },
    {
      kind: "command",
      name: "break",
      positional: [],
      tags: [{ name: "name", value: "string" }],
      check(call, check) {
        const loops = loopsAround(check);
        const name = nameOf(call, check);
        const at = { span: call.node.nameSpan };
        if (loops.length === 0) {
          check.error(at, codes.placement, "the break command is not placed inside a foreverypart loop");
        } else if (name !== undefined && !loops.some((loop) => nameOf(loop, check) === name)) {
          check.error(
            at,
            codes.placement,
            `the break command is not placed inside a foreverypart loop named \`${name}'`,
          );
        }
      },
      lower(call, to) {
        const name = to.constants(call.tags.get("name")?.value)?.[0];
        return [{ op: "break", ...(name === undefined ? {} : { name }), span: call.node.span }];
      },
    },
  ],
};
