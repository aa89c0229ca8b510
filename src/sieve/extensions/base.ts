/**
 * RFC 5228: the base language. Control (§3), the actions keep, discard and redirect (§4), the tests (§5), comparators
 * i;octet and i;ascii-casemap, the match types :is, :contains, :matches and the address parts (§2.7).
 */
import type { Checker } from "../check.ts";
import { codes } from "../codes.ts";
import { flagList } from "../flags.ts";
import { headerEffects } from "../lower.ts";
import type { Call, CommandSpec, Extension, TagSpec, TestSpec } from "../registry.ts";
import { redirect, redirectEffect } from "./redirect.ts";
import { addressSubject, addressValues, headerFields, headerSubject } from "./subjects.ts";

const matchType = (name: string): TagSpec => ({ name, group: "MATCH-TYPE" });
const partTag = (name: string): TagSpec => ({ name, group: "ADDRESS-PART" });

const comparator: TagSpec = {
  name: "comparator",
  value: "string",
  check(use, _call, check) {
    const name = check.constant(use.value);
    if (name === undefined) {
      check.error(use.node, codes.match, "the :comparator argument must be a constant string");
    } else if (!check.scope.comparators.has(name)) {
      const hint = check.context.registry.extensions.has(`comparator-${name}`)
        ? `add: require "comparator-${name}";`
        : undefined;
      check.error(use.value!, codes.match, `unknown comparator '${name}'`, hint);
    }
  },
  after(call, check) {
    // §2.7.1: i;ascii-numeric does equality and order only.
    if (check.constant(call.tags.get("comparator")?.value) !== "i;ascii-numeric") return;
    for (const name of ["contains", "matches", "regex"]) {
      const use = call.tags.get(name);
      if (use)
        check.error(
          use.node,
          codes.match,
          `the specified i;ascii-numeric comparator does not support sub-string matching as required by the :${name} match type`,
        );
    }
  },
};

/** if, elsif and else follow each other (§3.1); marks branches after one that is always taken. */
function placeBranch(call: Call, check: Checker): boolean {
  const before = check.previous;
  const follows = before?.spec.name === "if" || before?.spec.name === "elsif";
  if (call.spec.name !== "if" && !follows) {
    check.error(
      { span: call.node.nameSpan },
      codes.placement,
      `the ${call.spec.name} command must follow an if or elseif command`,
    );
    return false;
  }
  if (call.spec.name === "if") return true;
  const taken = before!.unreachable || before!.tests[0]?.constant === true;
  call.unreachable = taken;
  return !taken;
}

const branch = (name: "if" | "elsif" | "else"): CommandSpec => ({
  kind: "command",
  name,
  positional: [],
  ...(name === "else" ? {} : { tests: "one" as const }),
  block: true,
  place: placeBranch,
  // Chains are lowered as a whole (Lowering.block); a branch alone has nothing to do.
  lower: () => [],
});

const require: CommandSpec = {
  kind: "command",
  name: "require",
  positional: [{ name: "capabilities", type: "list" }],
  place(call, check) {
    if (check.atBeginning && check.enclosing.length === 0) return true;
    check.error(
      { span: call.node.nameSpan },
      codes.placement,
      "require commands can only be placed at top level at the beginning of the file",
    );
    return false;
  },
  check(call, check) {
    for (const name of check.strings(call.arguments[0])) {
      if (!check.enable(name.text)) {
        check.error(
          name,
          codes.capability,
          `require command: unknown Sieve capability \`${name.text}'`,
          check.nearestCapability(name.text),
        );
      }
    }
  },
  lower: () => [],
};

const stop: CommandSpec = {
  kind: "command",
  name: "stop",
  positional: [],
  lower: (call, to) => [...to.beforeStop(call.node.span), { op: "stop", span: call.node.span }],
};

const keep: CommandSpec = {
  kind: "command",
  name: "keep",
  positional: [],
  lower: (call, to) => [
    to.effect(
      "keep",
      call.node.span,
      { flags: to.values(call.tags.get("flags")?.value) },
      { flagged: call.tags.has("flags") },
    ),
  ],
};

const discard: CommandSpec = {
  kind: "command",
  name: "discard",
  positional: [],
  lower: (call, to) => [to.effect("discard", call.node.span)],
};

// RFC 5228 §5.1: fields that hold addresses; tests of others are refused.
const addressHeaders = new Set(
  "from to cc bcc sender reply-to resent-from resent-sender resent-to resent-cc resent-bcc resent-reply-to return-path errors-to delivered-to x-original-to envelope-to disposition-notification-to mail-followup-to mail-reply-to return-receipt-to approved x-apparently-to x-envelope-from x-envelope-to x-beenthere x-forwarded-to apparently-to list-post".split(
    " ",
  ),
);

const address: TestSpec = {
  kind: "test",
  name: "address",
  positional: [
    { name: "header list", type: "list" },
    { name: "key list", type: "list" },
  ],
  match: true,
  addressPart: true,
  check(call, check) {
    checkFieldNames(call, check);
    for (const name of check.strings(call.arguments[0])) {
      const text = check.constant(name)?.toLowerCase();
      if (text !== undefined && !addressHeaders.has(text)) {
        check.error(
          name,
          codes.value,
          `specified header '${text}' is not allowed for the address test`,
          "use the header test",
        );
      }
    }
  },
  lower: (call, to) => to.match(call, addressSubject(call, to), call.arguments[1]),
};

const header: TestSpec = {
  kind: "test",
  name: "header",
  positional: [
    { name: "header names", type: "list" },
    { name: "key list", type: "list" },
  ],
  match: true,
  check: checkFieldNames,
  lower: (call, to) => to.match(call, headerSubject(call, to), call.arguments[1]),
};

const exists: TestSpec = {
  kind: "test",
  name: "exists",
  positional: [{ name: "header names", type: "list" }],
  check: checkFieldNames,
  // §5.5: true when all the named fields exist.
  lower: (call, to) => ({
    op: "all",
    tests: to.values(call.arguments[0]).map((name) => {
      const data = { ...(name.op === "const" ? { names: [name.text.toLowerCase()] } : {}), ...mimeData(call) };
      const subject = to.subject("headerPresence", data, headerEffects, name.op === "const" ? [] : [name]);
      return {
        op: "count" as const,
        subject,
        how: "gt" as const,
        keys: [{ op: "const" as const, text: "0" }],
        fold: "numeric" as const,
        span: call.node.span,
      };
    }),
    span: call.node.span,
  }),
};

function mimeData(call: Call): Record<string, unknown> {
  return call.tags.has("mime") ? { mime: true, anychild: call.tags.has("anychild") } : {};
}

/** RFC 5228 §2.4.2.2: a string that is no field name can match nothing; say so. */
function checkFieldNames(call: Call, check: Checker): void {
  for (const name of check.strings(call.arguments[0])) {
    const text = check.constant(name);
    if (text !== undefined && !isFieldName(text))
      check.warn(name, codes.doubtful, `specified header field name '${text}' is invalid`);
  }
}

/** RFC 5322 §3.6.8. */
export function isFieldName(text: string): boolean {
  return /^[\x21-\x39\x3b-\x7e]+$/.test(text);
}

const size: TestSpec = {
  kind: "test",
  name: "size",
  positional: [{ name: "limit", type: "number" }],
  tags: [
    { name: "over", group: "SIZE-LIMIT" },
    { name: "under", group: "SIZE-LIMIT" },
  ],
  check(call, check) {
    if (!call.tags.has("over") && !call.tags.has("under")) {
      check.error(
        { span: call.node.nameSpan },
        codes.arguments,
        "the size test requires either the :under or the :over tag to be specified",
      );
    }
  },
  lower(call, to) {
    const limit = call.arguments[0]?.kind === "number" ? call.arguments[0].value : 0;
    return to.ask("size", call.node.span, [], { over: call.tags.has("over"), limit });
  },
};

const not: TestSpec = {
  kind: "test",
  name: "not",
  positional: [],
  tests: "one",
  constant: (call) => (call.tests[0]?.constant === undefined ? undefined : !call.tests[0].constant),
  lower: (call, to) => ({ op: "not", test: to.test(call.tests[0]!), span: call.node.span }),
};

const anyof: TestSpec = {
  kind: "test",
  name: "anyof",
  positional: [],
  tests: "list",
  constant: (call) => joined(call, true),
  lower: (call, to) => ({ op: "any", tests: undecided(call).map((test) => to.test(test)), span: call.node.span }),
};

const allof: TestSpec = {
  kind: "test",
  name: "allof",
  positional: [],
  tests: "list",
  constant: (call) => joined(call, false),
  lower: (call, to) => ({ op: "all", tests: undecided(call).map((test) => to.test(test)), span: call.node.span }),
};

/** The value of an anyof (decisive true) or allof (decisive false) as far as its constant members tell. */
function joined(call: Call, decisive: boolean): boolean | undefined {
  if (call.tests.some((test) => test.constant === decisive)) return decisive;
  return call.tests.every((test) => test.constant !== undefined) ? !decisive : undefined;
}

function undecided(call: Call): Call[] {
  return call.tests.filter((test) => test.constant === undefined);
}

const constantTest = (name: "true" | "false"): TestSpec => ({
  kind: "test",
  name,
  positional: [],
  constant: () => name === "true",
  lower: (call) => ({ op: "const", value: name === "true", span: call.node.span }),
});

export const base: Extension = {
  capability: "",
  specification: "RFC 5228",
  doc: {
    summary:
      "if, elsif, else, require, stop; keep, discard, redirect; address, allof, anyof, exists, false, header, not, size, true.",
    example: `if header :contains "subject" "money" { discard; } elsif size :over 1M { keep; }`,
  },
  commands: [branch("if"), branch("elsif"), branch("else"), require, stop, keep, discard, redirect],
  tests: [address, allof, anyof, exists, constantTest("false"), header, not, size, constantTest("true")],
  tags: [
    { on: ["@match"], tag: comparator },
    { on: ["@match"], tag: matchType("is") },
    { on: ["@match"], tag: matchType("contains") },
    { on: ["@match"], tag: matchType("matches") },
    { on: ["@address"], tag: partTag("all") },
    { on: ["@address"], tag: partTag("localpart") },
    { on: ["@address"], tag: partTag("domain") },
  ],
  comparators: { "i;octet": "octet", "i;ascii-casemap": "ascii" },
  evaluation: {
    sources: {
      header: (host, data, args) => headerFields(host, data, args).map((field) => field.decoded),
      headerPresence: (host, data, args) => headerFields(host, data, args).map((field) => field.name),
      address: addressValues,
    },
    asks: {
      size: (host, data) => {
        const limit = data.limit as number;
        return data.over === true ? host.mail.size > limit : host.mail.size < limit;
      },
    },
    effects: {
      keep: (host, data, args, span) => {
        const flags = data.flagged === true ? { flags: flagList(args.flags ?? []) } : { flags: [...host.flags] };
        host.result.add({ action: "keep", mail: host.snapshot(), ...flags }, span);
      },
      discard: (host, _data, _args, span) => host.result.add({ action: "discard" }, span),
      redirect: redirectEffect,
    },
  },
};
