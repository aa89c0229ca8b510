/** RFC 5232: flags of the stored message. A flag variable is a string of names with blanks between. */
import type { ArgumentNode } from "../../../grammar/sieve/ast.ts";
import type { Statement, Value } from "../../language/ir.ts";
import type { Checker } from "../check.ts";
import { codes } from "../codes.ts";
import { flagList, isFlag } from "../flags.ts";
import type { Lowering } from "../lower.ts";
import type { Call, CommandSpec, Extension, TagSpec } from "../registry.ts";
import { filingTag } from "./fcc.ts";

type Operation = "set" | "add" | "remove";

function changed(operation: Operation, old: readonly string[], texts: readonly string[]): string[] {
  const given = flagList(texts);
  if (operation === "set") return given;
  if (operation === "add") return flagList([...old, ...given]);
  const gone = new Set(given.map((flag) => flag.toLowerCase()));
  return old.filter((flag) => !gone.has(flag.toLowerCase()));
}

/** [<variable>] <flags>: the shape that the three commands and hasflag share (§4). */
function checkShape(call: Call, check: Checker, variableType: "string" | "list"): void {
  const what = `${call.spec.name} ${call.spec.kind}`;
  const [first, second, third] = call.arguments;
  const fail = (node: ArgumentNode | undefined, message: string) =>
    check.error(node ?? { span: call.node.nameSpan }, codes.arguments, `the ${what} ${message}`);
  if (first === undefined) {
    fail(undefined, "expects at least one argument, but none was found");
    return;
  }
  if (third !== undefined) {
    fail(third, "expects at most two arguments, but more were found");
    return;
  }
  const wrong = call.arguments.find((argument) => argument.kind === "number");
  if (wrong) {
    fail(wrong, `expects a string list as argument ${call.arguments.indexOf(wrong) + 1}, but a number was found`);
    return;
  }
  if (second === undefined) {
    checkFlags(first, check);
    return;
  }
  if (!check.scope.hasVariables) {
    fail(first, "only allows for the specification of a variable name when the variables extension is active");
    return;
  }
  if (variableType === "string" && first.kind !== "string") {
    fail(first, "expects a string as argument 1 (variable name), but a string list was found");
    return;
  }
  for (const name of check.strings(first)) {
    const problem = check.scope.nameProblem(name.text);
    if (problem) check.error(name, codes.variable, problem);
    else check.scope.slot(name.text);
  }
  checkFlags(second, check);
}

function checkFlags(argument: ArgumentNode, check: Checker): void {
  for (const node of check.strings(argument)) {
    for (const flag of (check.constant(node) ?? "").split(/\s+/)) {
      if (flag !== "" && !isFlag(flag) && !/[*?]/.test(flag))
        check.warn(node, codes.doubtful, `IMAP flag '${flag}' is invalid and will be ignored`);
    }
  }
}

const flagCommand = (name: string, operation: Operation): CommandSpec => ({
  kind: "command",
  name,
  positional: "custom",
  check: (call, check) => checkShape(call, check, "string"),
  lower(call, to): Statement[] {
    const [first, second] = call.arguments;
    const span = call.node.span;
    if (second === undefined) return [to.effect("flags", span, { flags: to.values(first) }, { operation })];
    const slot = variableSlots(first, to)[0]!;
    const args: Value[] = [{ op: "slot", slot }, ...to.values(second)];
    return [{ op: "set", slot, value: { op: "host", name: "flagVariable", args, data: { operation } }, span }];
  },
});

function variableSlots(argument: ArgumentNode | undefined, to: Lowering): number[] {
  const nodes = argument?.kind === "list" ? argument.items : argument?.kind === "string" ? [argument] : [];
  return nodes.map((node) => to.scope.slot(node.text)!);
}

const flagsTag: TagSpec = { name: "flags", value: "list" };

export const imap4flags: Extension = {
  capability: "imap4flags",
  specification: "RFC 5232",
  doc: {
    summary: "setflag, addflag, removeflag, hasflag and `:flags`.",
    example: `addflag "\\\\Flagged"; fileinto :flags "\\\\Seen" "Read";`,
  },
  commands: [flagCommand("setflag", "set"), flagCommand("addflag", "add"), flagCommand("removeflag", "remove")],
  tests: [
    {
      kind: "test",
      name: "hasflag",
      positional: "custom",
      match: true,
      check: (call, check) => checkShape(call, check, "list"),
      lower(call, to) {
        const [first, second] = call.arguments;
        const slots = second === undefined ? [] : variableSlots(first, to);
        const args = slots.map((slot): Value => ({ op: "slot", slot }));
        const subject = {
          op: "host",
          source: "flags",
          data: { internal: second === undefined },
          args,
          stable: false,
          invalidatedBy: [],
        } as const;
        return to.match(call, subject, splitFlags(second ?? first!, call));
      },
    },
  ],
  tags: [{ on: ["keep"], tag: flagsTag }, filingTag(flagsTag)],
  evaluation: {
    sources: { flags: (host, data, args) => (data.internal === true ? host.flags : flagList(args)) },
    values: {
      flagVariable: (_host, data, [old = "", ...texts]) =>
        changed(data.operation as Operation, flagList([old]), texts).join(" "),
    },
    effects: {
      flags: (host, data, args) => {
        host.flags = changed(data.operation as Operation, host.flags, args.flags ?? []);
      },
    },
  },
};

/** Keys may hold several flags in one string (§2): under :is each is a key. */
function splitFlags(argument: ArgumentNode, call: Call): ArgumentNode {
  const plain = ["contains", "matches", "regex", "value", "count"].every((tag) => !call.tags.has(tag));
  if (!plain || argument.kind === "number" || argument.kind === "tag") return argument;
  const nodes = argument.kind === "list" ? argument.items : [argument];
  const items = nodes.flatMap((node) => {
    const words = node.text.split(/\s+/).filter((word) => word !== "");
    return words.length > 1 && !node.text.includes("${") ? words.map((text) => ({ ...node, text })) : [node];
  });
  return { kind: "list", items, span: argument.span };
}
