/** RFC 5429: reject and ereject. Whether the refusal is an SMTP reply or a report is the gateway's to decide (§2.1). */
import type { CommandSpec, Evaluation, Extension } from "../registry.ts";

const refusal = (name: "reject" | "ereject"): CommandSpec => ({
  kind: "command",
  name,
  positional: [{ name: "reason", type: "string" }],
  lower: (call, to) => [to.effect(name, call.node.span, { reason: to.values(call.arguments[0]) })],
});

const evaluation = (name: "reject" | "ereject"): Evaluation => ({
  effects: {
    [name]: (host, _data, args, span) =>
      host.result.add({ action: name, reason: args.reason?.[0] ?? "", mail: host.snapshot() }, span),
  },
});

export const reject: Extension = {
  capability: "reject",
  specification: "RFC 5429 §2.2",
  doc: { summary: "Refuses the message with a reason.", example: `reject "I don't take mail from you.";` },
  commands: [refusal("reject")],
  evaluation: evaluation("reject"),
};

export const ereject: Extension = {
  capability: "ereject",
  specification: "RFC 5429 §2.1",
  doc: { summary: "Refuses the message, in the SMTP dialogue where possible.", example: `ereject "No such product.";` },
  commands: [refusal("ereject")],
  evaluation: evaluation("ereject"),
};
