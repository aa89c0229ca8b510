/**
 * vnd.dovecot.testsuite: the commands and tests of Pigeonhole's test files, over the Suite.
 * Invariants: `test` blocks stand at top level only; the words change the suite's state and nothing outside it.
 */
import type { Value } from "../../language/ir.ts";
import { codes } from "../codes.ts";
import type { SieveHost } from "../host.ts";
import type { CommandSpec, Extension, TagSpec, TestSpec } from "../registry.ts";
import { type Suite, SuiteHost, SuiteStopped, TestFailed } from "./suite.ts";

function suiteOf(host: SieveHost): Suite {
  if (!(host instanceof SuiteHost)) throw new SuiteStopped("testsuite words work in test files only");
  return host.suite;
}

const objects = new Set(["message", "envelope.from", "envelope.to", "envelope.orig_to", "envelope.auth"]);

const indexTag: TagSpec = { name: "index", value: "number" };

/** A command whose string arguments go to the effect of its name. */
function command(name: string, positional: readonly string[], tags: readonly TagSpec[] = []): CommandSpec {
  return {
    kind: "command",
    name,
    positional: positional.map((argument) => ({ name: argument, type: "string" })),
    tags,
    lower(call, to) {
      const groups: Record<string, Value[]> = { args: call.arguments.flatMap((argument) => to.values(argument)) };
      for (const [tag, use] of call.tags) if (use.value) groups[tag] = to.values(use.value);
      return [to.effect(name, call.node.span, groups, { tags: [...call.tags.keys()] })];
    },
  };
}

/** A yes/no of the suite. */
function question(name: string, positional: TestSpec["positional"], tags: readonly TagSpec[] = []): TestSpec {
  return {
    kind: "test",
    name,
    positional,
    tags,
    lower: (call, to) =>
      to.ask(
        name,
        call.node.span,
        call.arguments.flatMap((argument) => to.values(argument)),
        { tags: [...call.tags.keys()] },
      ),
  };
}

/** Texts of the suite, matched like a header. Comparator i;octet unless said otherwise. */
function listing(name: string): TestSpec {
  return {
    kind: "test",
    name,
    positional: [{ name: "key list", type: "list" }],
    match: true,
    tags: [indexTag],
    lower(call, to) {
      const index = call.tags.get("index")?.value;
      const data = index?.kind === "number" ? { index: index.value } : {};
      return to.match(call, to.subject(name, data, []), call.arguments[0], { fold: "octet" });
    },
  };
}

function picked(texts: readonly string[], index: unknown): readonly string[] {
  if (typeof index !== "number") return texts;
  return texts.slice(index - 1, index);
}

/** test_message is a command (its failure fails the test) and a test. */
const messageTags: readonly TagSpec[] = [
  { name: "smtp", group: "MESSAGE-SOURCE" },
  { name: "folder", group: "MESSAGE-SOURCE", value: "string" },
];

function openMessage(host: SieveHost, folder: string | undefined, index: number): boolean {
  const suite = suiteOf(host);
  return folder === undefined ? suite.openSent(index) : suite.openStored(folder, index);
}

export const testsuite: Extension = {
  capability: "vnd.dovecot.testsuite",
  specification: "Pigeonhole",
  doc: {
    summary: "Words of test files.",
    example: `test "Simple" { if not header "subject" "Frop!" { test_fail "no"; } }`,
  },
  namespaces: { tst: "testPath" },
  commands: [
    {
      kind: "command",
      name: "test",
      positional: [{ name: "test name", type: "string" }],
      block: true,
      place(call, check) {
        if (check.enclosing.length === 0) return true;
        check.error(
          { span: call.node.nameSpan },
          codes.placement,
          "tests cannot be nested: test command must be issued at top-level",
        );
        return false;
      },
      // Each block is an entry of its own (lowerEntries in ../compile.ts).
      lower: () => [],
    },
    command("test_fail", ["reason"]),
    {
      ...command("test_set", ["object", "value"]),
      check(call, check) {
        const object = check.constant(call.arguments[0]);
        if (object !== undefined && !objects.has(object)) {
          check.error(call.arguments[0]!, codes.value, `unknown testsuite object '${object.slice(0, 80)}'`);
        }
      },
    },
    command("test_config_set", ["setting", "value"]),
    command("test_config_unset", ["setting"]),
    command("test_config_reload", [], [{ name: "extension", value: "string" }]),
    command("test_result_reset", []),
    command("test_result_print", []),
    command("test_message_print", []),
    command("test_mailbox_create", ["mailbox"]),
    command("test_mailbox_delete", ["mailbox"]),
    command("test_binary_save", ["name"]),
    command("test_binary_load", ["name"]),
    command("test_imap_metadata_set", ["entry", "value"], [{ name: "mailbox", value: "string" }]),
  ],
  tests: [
    question("test_script_compile", [{ name: "script", type: "string" }]),
    question("test_script_run", [], [{ name: "append_result" }]),
    question("test_multiscript", [{ name: "scripts", type: "list" }]),
    question("test_result_execute", []),
    listing("test_error"),
    listing("test_result_action"),
  ],
  hybrids: [
    {
      name: "test_message",
      positional: [{ name: "index", type: "number" }],
      tags: messageTags,
      check(call, check) {
        const folder = check.constant(call.tags.get("folder")?.value);
        if (folder?.isWellFormed() === false || folder?.includes("\ufffd")) {
          check.error(call.node, codes.value, `invalid mailbox name '${folder}' specified: not valid UTF-8`);
        }
        if (call.tags.size === 0) {
          check.error(
            { span: call.node.nameSpan },
            codes.arguments,
            "the test_message command requires either the :smtp or the :folder tag to be specified",
          );
        }
      },
      lowerCommand: (call, to) => [
        to.effect("test_message", call.node.span, {
          folder: to.values(call.tags.get("folder")?.value),
          index: to.values(call.arguments[0]),
        }),
      ],
      lowerTest: (call, to) => {
        const folder = to.values(call.tags.get("folder")?.value);
        return to.ask("test_message", call.node.span, [...to.values(call.arguments[0]), ...folder]);
      },
    },
  ],
  evaluation: {
    values: { testPath: (host, data) => (data.name === "path" ? suiteOf(host).directory : "") },
    sources: {
      test_error: (host, data) => picked(suiteOf(host).errors, data.index),
      test_result_action: (host, data) =>
        picked(
          suiteOf(host).host.result.actions.map(({ action }) =>
            action.action === "fileinto" ? "store" : action.action,
          ),
          data.index,
        ),
    },
    asks: {
      test_script_compile: (host, _data, [path = ""]) => suiteOf(host).compile(path),
      test_script_run: (host, data) => suiteOf(host).run((data.tags as string[]).includes("append_result")),
      test_multiscript: (host, _data, paths) => suiteOf(host).multiscript(paths),
      test_result_execute: (host) => suiteOf(host).executeResult(),
      test_message: (host, _data, [index, folder]) => openMessage(host, folder, Number(index)),
    },
    effects: {
      test_stop: () => {
        throw new SuiteStopped("");
      },
      test_fail: (_host, _data, args) => {
        throw new TestFailed(args.args?.[0] ?? "");
      },
      test_set: (host, _data, args) => {
        const [object = "", value = ""] = args.args ?? [];
        if (object === "message") suiteOf(host).setMessage(Buffer.from(value));
        else suiteOf(host).setEnvelope(object.slice("envelope.".length), value);
      },
      test_config_set: (host, _data, args) => suiteOf(host).stage(args.args?.[0] ?? "", args.args?.[1] ?? ""),
      test_config_unset: (host, _data, args) => suiteOf(host).stage(args.args?.[0] ?? "", undefined),
      test_config_reload: (host, _data, args) => suiteOf(host).reload(args.extension?.[0]),
      test_result_reset: (host) => suiteOf(host).resetResult(),
      test_result_print: () => {},
      test_message_print: () => {},
      test_mailbox_create: (host, _data, args) => suiteOf(host).world.create(args.args?.[0] ?? ""),
      test_mailbox_delete: () => {
        throw new SuiteStopped("test_mailbox_delete is not implemented");
      },
      test_binary_save: (host, _data, args) => suiteOf(host).saveBinary(args.args?.[0] ?? ""),
      test_binary_load: (host, _data, args) => suiteOf(host).loadBinary(args.args?.[0] ?? ""),
      test_imap_metadata_set: (host, _data, args) =>
        suiteOf(host).world.setMetadata(args.mailbox?.[0], args.args?.[0] ?? "", args.args?.[1] ?? ""),
      test_message: (host, _data, args) => {
        if (!openMessage(host, args.folder?.[0], Number(args.index?.[0]))) {
          throw new TestFailed(
            `no message ${args.index?.[0]} ${args.folder?.[0] ? `in folder ${args.folder[0]}` : "was sent"}`,
          );
        }
      },
    },
  },
};
