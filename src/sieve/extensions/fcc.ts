/** RFC 8580: `:fcc` keeps a copy of what vacation and notify send, with fileinto's tags for how to file it. */
import type { Data, Value } from "../../language/ir.ts";
import type { Span } from "../../language/span.ts";
import type { Checker } from "../check.ts";
import { codes } from "../codes.ts";
import type { SieveHost } from "../host.ts";
import type { Lowering } from "../lower.ts";
import type { Arguments, Call, Extension, TagSpec } from "../registry.ts";
import type { FileTarget } from "../result.ts";
import { fileTarget, isFolderName, targetGroups } from "./fileinto.ts";

/** Constructs that make messages of their own. */
const composing = ["vacation", "notify"];

/** A tag of fileinto, usable beside `:fcc` too (§3.1). */
export function filingTag(tag: TagSpec): NonNullable<Extension["tags"]>[number] {
  const after = (call: Call, check: Checker): void => {
    if (!composing.includes(call.spec.name) || call.tags.has("fcc")) return;
    const at = call.tags.get(tag.name)!.node;
    check.error(at, codes.unknownTag, `the :${tag.name} tag for the ${call.spec.name} command needs the :fcc tag`);
  };
  return { on: ["fileinto", ...composing], tag: { ...tag, after } };
}

/** The groups and data that `fccTarget` reads; nothing without `:fcc`. */
export function fccGroups(call: Call, to: Lowering): { groups: Record<string, Value[]>; data: Data } {
  const use = call.tags.get("fcc");
  if (use === undefined) return { groups: {}, data: {} };
  const { groups, data } = targetGroups(call, to.values(use.value), to);
  return { groups, data: { ...data, fcc: true } };
}

export function fccTarget(host: SieveHost, data: Data, args: Arguments, span: Span): { fcc?: FileTarget } {
  if (data.fcc !== true) return {};
  const { flags, ...target } = fileTarget(host, data, args, span, "fcc");
  // §3.1: the message's own flags are not the copy's.
  return { fcc: { ...target, flags: data.flagged === true ? (flags ?? []) : [] } };
}

export const fcc: Extension = {
  capability: "fcc",
  specification: "RFC 8580",
  doc: {
    summary: "`:fcc` keeps a copy of a vacation reply or notification; with `:create`, `:flags` and `:specialuse`.",
    example: `vacation :fcc "Sent" "Away.";`,
  },
  tags: [
    {
      on: composing,
      tag: {
        name: "fcc",
        value: "string",
        check(use, call, check) {
          const folder = check.constant(use.value);
          if (folder === undefined || isFolderName(folder)) return;
          const message = `${call.spec.name} command: invalid folder name '${folder.slice(0, 80)}' specified for :fcc`;
          check.error(use.value!, codes.value, message);
        },
      },
    },
  ],
};
