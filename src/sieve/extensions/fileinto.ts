/** RFC 5228 §4.1: fileinto, with the tags that copy, mailbox, special-use and imap4flags add to it. */

import type { Data, Value } from "../../language/ir.ts";
import type { Span } from "../../language/span.ts";
import { codes } from "../codes.ts";
import { SieveRuntimeError } from "../errors.ts";
import { flagList } from "../flags.ts";
import type { SieveHost } from "../host.ts";
import type { Lowering } from "../lower.ts";
import type { Arguments, Call, Extension } from "../registry.ts";
import type { FileTarget } from "../result.ts";

/** Names that a store can take: not over-long, no control characters, valid UTF-8. The empty name is INBOX. */
export function isFolderName(name: string): boolean {
  return name.length <= 1_024 && !/[\x00-\x1f\x7f]/.test(name) && name.isWellFormed() && !name.includes("\ufffd");
}

/** What `fileTarget` reads at run time: the folder and the tags that say how to file into it. */
export function targetGroups(call: Call, folder: Value[], to: Lowering) {
  const value = (name: string) => to.values(call.tags.get(name)?.value);
  return {
    groups: { folder, flags: value("flags"), specialUse: value("specialuse") },
    data: { create: call.tags.has("create"), flagged: call.tags.has("flags") },
  };
}

export function fileTarget(host: SieveHost, data: Data, args: Arguments, span: Span, what: string): FileTarget {
  const folder = args.folder?.[0] ?? "";
  if (!isFolderName(folder)) {
    throw new SieveRuntimeError(`${what} action: invalid folder name '${folder.slice(0, 80)}'`, span);
  }
  const specialUse = args.specialUse?.[0];
  return {
    folder,
    create: data.create === true,
    flags: data.flagged === true ? flagList(args.flags ?? []) : [...host.flags],
    ...(specialUse === undefined ? {} : { specialUse }),
  };
}

export const fileinto: Extension = {
  capability: "fileinto",
  specification: "RFC 5228 §4.1",
  doc: { summary: "Delivers into a named folder.", example: `fileinto "INBOX.harassment";` },
  commands: [
    {
      kind: "command",
      name: "fileinto",
      positional: [{ name: "mailbox", type: "string" }],
      check(call, check) {
        const folder = check.constant(call.arguments[0]);
        if (folder === undefined || isFolderName(folder)) return;
        // Text that isn't UTF-8 names no folder anywhere; which other names there can be is the store's to say.
        const report = folder.isWellFormed() && !folder.includes("\ufffd") ? check.warn : check.error;
        const message = `fileinto command: invalid folder name '${folder.slice(0, 80)}' specified`;
        report.call(check, call.arguments[0]!, codes.value, message);
      },
      lower(call, to) {
        const { groups, data } = targetGroups(call, to.values(call.arguments[0]), to);
        return [to.effect("fileinto", call.node.span, groups, { ...data, copy: call.tags.has("copy") })];
      },
    },
  ],
  evaluation: {
    effects: {
      fileinto: (host, data, args, span) => {
        const target = fileTarget(host, data, args, span, "fileinto");
        host.result.add({ action: "fileinto", ...target, copy: data.copy === true, mail: host.snapshot() }, span);
      },
    },
  },
};
