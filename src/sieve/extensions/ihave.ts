/** RFC 5463: ihave and error. ihave is decided when the script is compiled. */
import { codes } from "../codes.ts";
import { SieveRuntimeError } from "../errors.ts";
import type { Extension } from "../registry.ts";

export const ihave: Extension = {
  capability: "ihave",
  specification: "RFC 5463",
  doc: {
    summary: "Asks for extensions and uses them where present.",
    example: `if ihave "fileinto" { fileinto "Lists"; } else { keep; }`,
  },
  commands: [
    {
      kind: "command",
      name: "error",
      positional: [{ name: "message", type: "string" }],
      lower: (call, to) => [to.effect("error", call.node.span, { message: to.values(call.arguments[0]) })],
    },
  ],
  tests: [
    {
      kind: "test",
      name: "ihave",
      positional: [{ name: "capabilities", type: "list" }],
      constant(call, check) {
        const names = check.strings(call.arguments[0]).map((node) => check.constant(node));
        if (names.includes(undefined)) {
          check.warn(call.arguments[0]!, codes.doubtful, "ihave with a variable string is always false");
          return false;
        }
        const { registry, settings } = check.context;
        // §4: what changes the reading of the script itself can't be switched on in the middle of it.
        const have = names.every((name) => {
          const extension = registry.extensions.get(name!);
          return (
            extension !== undefined &&
            name !== "" &&
            !extension.changesReading &&
            !settings.disabledExtensions.includes(name!)
          );
        });
        if (have) for (const name of names) check.enable(name!);
        return have;
      },
      lower: (call) => ({ op: "const", value: call.constant ?? false, span: call.node.span }),
    },
  ],
  evaluation: {
    effects: {
      error: (_host, _data, args, span) => {
        throw new SieveRuntimeError(args.message?.[0] ?? "", span);
      },
    },
  },
};
