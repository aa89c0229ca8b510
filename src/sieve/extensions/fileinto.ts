/** RFC 5228 §4.1: fileinto, with the tags that copy, mailbox, special-use and imap4flags add to it. */
import { codes } from "../codes.ts";
import { SieveRuntimeError } from "../errors.ts";
import type { Extension } from "../registry.ts";
import { flagList } from "./imap4flags.ts";

/** Names that a store can take: not over-long, no control characters, valid UTF-8. The empty name is INBOX. */
export function isFolderName(name: string): boolean {
  return name.length <= 1_024 && !/[\x00-\x1f\x7f]/.test(name) && name.isWellFormed() && !name.includes("\ufffd");
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
        const value = (name: string) => to.values(call.tags.get(name)?.value);
        const groups = { folder: to.values(call.arguments[0]), flags: value("flags"), specialUse: value("specialuse") };
        const data = { copy: call.tags.has("copy"), create: call.tags.has("create"), flagged: call.tags.has("flags") };
        return [to.effect("fileinto", call.node.span, groups, data)];
      },
    },
  ],
  evaluation: {
    effects: {
      fileinto: (host, data, args, span) => {
        const folder = args.folder?.[0] ?? "";
        if (!isFolderName(folder)) {
          throw new SieveRuntimeError(`fileinto action: invalid folder name '${folder.slice(0, 80)}'`, span);
        }
        const specialUse = args.specialUse?.[0];
        host.result.add(
          {
            action: "fileinto",
            folder,
            copy: data.copy === true,
            create: data.create === true,
            mail: host.snapshot(),
            flags: data.flagged === true ? flagList(args.flags ?? []) : [...host.flags],
            ...(specialUse === undefined ? {} : { specialUse }),
          },
          span,
        );
      },
    },
  },
};
