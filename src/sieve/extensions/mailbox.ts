/** RFC 5490 §3–§5 and RFC 8579: questions about mailboxes, :create and :specialuse. */

import type { Checker } from "../check.ts";
import { codes } from "../codes.ts";
import { settingEffects } from "../lower.ts";
import type { Call, Extension, TestSpec } from "../registry.ts";
import { filingTag } from "./fcc.ts";
import { isFolderName } from "./fileinto.ts";

/** RFC 5464 §3.1: "/private/…" or "/shared/…", no empty, wild or control parts. */
function isEntryName(name: string): boolean {
  return /^\/(?:private|shared)(?:\/[^/*%\x00-\x1f\x7f]+)+$/i.test(name);
}

function checkMailboxes(call: Call, check: Checker): void {
  for (const node of check.strings(call.arguments[0])) {
    const name = check.constant(node);
    if (name !== undefined && !isFolderName(name)) {
      check.error(node, codes.value, `${call.spec.name} test: invalid mailbox name '${name.slice(0, 80)}' specified`);
    }
  }
}

export const mailbox: Extension = {
  capability: "mailbox",
  specification: "RFC 5490 §3.1, §3.2",
  doc: {
    summary: "mailboxexists, and `:create` on fileinto.",
    example: `if mailboxexists "Lists" { fileinto :create "Lists.sieve"; }`,
  },
  tests: [
    {
      kind: "test",
      name: "mailboxexists",
      positional: [{ name: "mailbox-names", type: "list" }],
      check: checkMailboxes,
      lower: (call, to) => to.ask("mailboxExists", call.node.span, to.values(call.arguments[0])),
    },
  ],
  tags: [filingTag({ name: "create" })],
  evaluation: { asks: { mailboxExists: (host, _data, args) => args.every((name) => host.mailboxes.exists(name)) } },
};

export const specialUse: Extension = {
  capability: "special-use",
  specification: "RFC 8579",
  doc: {
    summary: "specialuse_exists, and `:specialuse` on fileinto.",
    example: `fileinto :specialuse "\\\\Junk" "Spam";`,
  },
  tests: [
    {
      kind: "test",
      name: "specialuse_exists",
      positional: "custom",
      check(call, check) {
        const [first, second, third] = call.arguments;
        const last = second ?? first;
        if (first === undefined || third !== undefined) {
          check.error(
            { span: call.node.nameSpan },
            codes.arguments,
            "the specialuse_exists test requires one or two positional argument(s)",
          );
        } else if (second !== undefined && first.kind !== "string") {
          check.error(
            first,
            codes.arguments,
            `the specialuse_exists test expects a string as argument 1 (mailbox), but ${first.kind === "list" ? "a string list" : "a number"} was found`,
          );
        } else if (last?.kind === "number") {
          check.error(
            last,
            codes.arguments,
            `the specialuse_exists test expects a string list as argument ${second ? 2 : 1} (special-use flags), but a number was found`,
          );
        } else {
          if (second) checkMailboxes({ ...call, arguments: [first] }, check);
          for (const node of check.strings(last)) {
            const flag = check.constant(node);
            if (flag !== undefined) checkUse(flag, node, "specialuse_exists test", check);
          }
        }
      },
      lower(call, to) {
        const [first, second] = call.arguments;
        const args = second === undefined ? to.values(first) : [...to.values(first), ...to.values(second)];
        return to.ask("specialUseExists", call.node.span, args, { named: second !== undefined });
      },
    },
  ],
  tags: [
    filingTag({
      name: "specialuse",
      value: "string",
      check(use, call, check) {
        const flag = check.constant(use.value);
        if (flag !== undefined) checkUse(flag, use.value!, `${call.spec.name} command`, check);
      },
    }),
  ],
  evaluation: {
    asks: {
      specialUseExists: (host, data, args) => {
        const folder = data.named === true ? args[0] : undefined;
        const flags = data.named === true ? args.slice(1) : args;
        if (folder !== undefined && !host.mailboxes.exists(folder)) return false;
        return flags.every((flag) => host.mailboxes.specialUse(folder, flag));
      },
    },
  },
};

/** RFC 6154 §6: a backslash and an atom. */
function checkUse(flag: string, node: Parameters<Checker["error"]>[0], what: string, check: Checker): void {
  if (!/^\\[^\x00-\x20\x7f(){%*"\\\]]+$/.test(flag))
    check.error(node, codes.value, `${what}: invalid special-use flag '${flag.slice(0, 80)}' specified`);
}

/** `mailboxed`: the first argument names a mailbox; otherwise the server's annotations are meant. */
function metadataTest(name: string, mailboxed: boolean): TestSpec {
  return {
    kind: "test",
    name,
    positional: [
      ...(mailboxed ? [{ name: "mailbox", type: "string" } as const] : []),
      { name: "annotation-name", type: "string" },
      { name: "key list", type: "list" },
    ],
    match: true,
    check: (call, check) => checkEntries(call, check, mailboxed ? 1 : 0),
    lower(call, to) {
      const keys = call.arguments[mailboxed ? 2 : 1];
      const args = call.arguments.slice(0, mailboxed ? 2 : 1).flatMap((argument) => to.values(argument));
      return to.match(
        call,
        {
          op: "host",
          source: "metadata",
          data: { mailboxed },
          args,
          stable: false,
          invalidatedBy: [...settingEffects],
        },
        keys,
      );
    },
  };
}

function metadataExists(name: string, mailboxed: boolean): TestSpec {
  return {
    kind: "test",
    name,
    positional: [
      ...(mailboxed ? [{ name: "mailbox", type: "string" } as const] : []),
      { name: "annotation-names", type: "list" },
    ],
    check: (call, check) => checkEntries(call, check, mailboxed ? 1 : 0),
    lower: (call, to) =>
      to.ask(
        "metadataExists",
        call.node.span,
        call.arguments.flatMap((argument) => to.values(argument)),
        { mailboxed },
      ),
  };
}

function checkEntries(call: Call, check: Checker, at: number): void {
  if (at === 1) checkMailboxes({ ...call, arguments: call.arguments.slice(0, 1) }, check);
  for (const node of check.strings(call.arguments[at])) {
    const entry = check.constant(node);
    if (entry !== undefined && !isEntryName(entry)) {
      check.warn(
        node,
        codes.doubtful,
        `${call.spec.name} test: specified annotation name '${entry.slice(0, 80)}' is invalid`,
      );
    }
  }
}

export const mboxMetadata: Extension = {
  capability: "mboxmetadata",
  specification: "RFC 5490 §3.3, §3.4",
  doc: {
    summary: "metadata and metadataexists of a mailbox.",
    example: `if metadata "INBOX" "/private/vendor/mode" "away" { stop; }`,
  },
  tests: [metadataTest("metadata", true), metadataExists("metadataexists", true)],
  evaluation: {
    sources: {
      metadata: (host, data, args) => {
        const [folder, entry] = data.mailboxed === true ? [args[0], args[1]] : [undefined, args[0]];
        const value = host.mailboxes.metadata(folder, entry ?? "");
        return value === undefined ? [] : [value];
      },
    },
    asks: {
      metadataExists: (host, data, args) => {
        const folder = data.mailboxed === true ? args[0] : undefined;
        const entries = data.mailboxed === true ? args.slice(1) : args;
        return entries.every((entry) => host.mailboxes.metadata(folder, entry) !== undefined);
      },
    },
  },
};

export const serverMetadata: Extension = {
  capability: "servermetadata",
  specification: "RFC 5490 §5",
  doc: {
    summary: "servermetadata and servermetadataexists.",
    example: `if servermetadataexists "/shared/admin" { keep; }`,
  },
  tests: [metadataTest("servermetadata", false), metadataExists("servermetadataexists", false)],
};
