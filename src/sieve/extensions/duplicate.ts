/** RFC 7352: was a message with the same identity seen before? Remembering happens when the result is committed (§3). */
import { createHash } from "node:crypto";
import { codes } from "../codes.ts";
import type { Extension } from "../registry.ts";

export const duplicate: Extension = {
  capability: "duplicate",
  specification: "RFC 7352",
  doc: {
    summary: "Detects messages seen before.",
    example: `if duplicate :handle "notify" :seconds 1800 { discard; }`,
  },
  tests: [
    {
      kind: "test",
      name: "duplicate",
      positional: [],
      tags: [
        { name: "handle", value: "string" },
        { name: "header", value: "string" },
        { name: "uniqueid", value: "string" },
        { name: "seconds", value: "number" },
        { name: "last" },
      ],
      check(call, check) {
        if (call.tags.has("header") && call.tags.has("uniqueid")) {
          check.error(
            { span: call.node.nameSpan },
            codes.arguments,
            "conflicting :header and :uniqueid arguments specified for the duplicate test",
          );
        }
      },
      lower(call, to) {
        const value = (name: string) => to.values(call.tags.get(name)?.value);
        const [handle, header, uniqueid] = [value("handle"), value("header"), value("uniqueid")];
        const seconds = call.tags.get("seconds")?.value;
        const kind = header.length > 0 ? "header" : uniqueid.length > 0 ? "id" : "message-id";
        const data = {
          kind,
          handle: handle.length > 0,
          last: call.tags.has("last"),
          ...(seconds?.kind === "number" ? { seconds: seconds.value } : {}),
        };
        return to.ask("duplicate", call.node.span, [...handle, ...header, ...uniqueid], data);
      },
    },
  ],
  evaluation: {
    asks: {
      duplicate: (host, data, args) => {
        const handle = data.handle === true ? args[0]! : "";
        const text = args[data.handle === true ? 1 : 0];
        const field = data.kind === "header" ? (text ?? "") : "message-id";
        const id = data.kind === "id" ? text : host.mail.first(field.toLowerCase())?.value;
        // §3.1: a message without the field is never a duplicate.
        if (id === undefined || id === "") return false;
        const key = createHash("sha256")
          .update(JSON.stringify([handle, data.kind, field, id]))
          .digest("hex");
        const { duplicateDefault, duplicateMax } = host.settings;
        const seconds = Math.min((data.seconds as number | undefined) ?? duplicateDefault, duplicateMax);
        const seen = host.input.seen?.(key) ?? false;
        // §3.3: with :last the period begins anew with each duplicate.
        if (!seen || data.last === true) host.remembered.push({ key, seconds });
        return seen;
      },
    },
  },
};
