/** RFC 5293: addheader and deleteheader, with the fields that policy protects. */
import type { Fold, MatchKind, Subject } from "../../language/ir.ts";
import { tester } from "../../language/match.ts";
import { codes } from "../codes.ts";
import { SieveRuntimeError } from "../errors.ts";
import type { SieveHost } from "../host.ts";
import type { MailField } from "../mail.ts";
import type { Extension } from "../registry.ts";
import { isFieldName } from "./base.ts";
import { indexTag, lastTag } from "./field-index.ts";

/** Text that can stand in a field: no control characters, line ends only where the next line begins with a blank. */
function isFieldBody(text: string): boolean {
  return /^(?:[^\x00-\x08\x0a-\x1f\x7f]|\r?\n[ \t])*$/.test(text);
}

/** §6: trace fields, and what loop detection relies on, are never edited. */
function allowed(host: SieveHost, name: string, operation: "add" | "delete"): boolean {
  const lower = name.toLowerCase();
  if (lower === "received" || lower === "x-sieve-redirected-from") return false;
  if (lower === "auto-submitted" && operation === "delete") return false;
  const rule = host.settings.headerRules.find((candidate) => candidate.name.toLowerCase() === lower);
  return !(operation === "add" ? rule?.forbidAdd : rule?.forbidDelete);
}

function doomed(
  host: SieveHost,
  data: Readonly<Record<string, unknown>>,
  name: string,
  keys: readonly string[],
): Set<MailField> {
  let fields = host.mail.all(name.toLowerCase());
  const index = data.index as number | undefined;
  if (index !== undefined) {
    const one = fields.at(index > 0 ? index - 1 : index);
    fields = one === undefined ? [] : [one];
  }
  if (data.matching !== true) return new Set(fields);
  const matches = tester(data.how as MatchKind, data.fold as Fold, keys, host.budget);
  return new Set(fields.filter((field) => matches(field.decoded)));
}

export const editheader: Extension = {
  capability: "editheader",
  specification: "RFC 5293",
  doc: {
    summary: "Adds and removes header fields.",
    example: `addheader "X-Sieve-Filtered" "yes"; deleteheader "X-Spam-Level";`,
  },
  commands: [
    {
      kind: "command",
      name: "addheader",
      positional: [
        { name: "field-name", type: "string" },
        { name: "value", type: "string" },
      ],
      tags: [{ name: "last" }],
      check(call, check) {
        const name = check.constant(call.arguments[0]);
        if (name !== undefined && !isFieldName(name)) {
          check.error(
            call.arguments[0]!,
            codes.value,
            `addheader command: specified field name \`${name.slice(0, 80)}' is invalid`,
          );
          return;
        }
        const value = check.constant(call.arguments[1]);
        if (value !== undefined && !isFieldBody(value)) {
          check.warn(
            call.arguments[1]!,
            codes.value,
            `addheader command: specified value \`${value.slice(0, 80)}' is invalid`,
          );
        }
      },
      lower: (call, to) => [
        to.effect(
          "addheader",
          call.node.span,
          { name: to.values(call.arguments[0]), value: to.values(call.arguments[1]) },
          { last: call.tags.has("last") },
        ),
      ],
    },
    {
      kind: "command",
      name: "deleteheader",
      positional: "custom",
      match: true,
      tags: [indexTag, lastTag],
      check(call, check) {
        const [name, patterns, more] = call.arguments;
        if (name === undefined) {
          check.error(
            { span: call.node.nameSpan },
            codes.arguments,
            "the deleteheader command expects at least one positional argument, but none was found",
          );
        } else if (name.kind !== "string") {
          check.error(
            name,
            codes.arguments,
            `the deleteheader command expects a string as argument 1 (field name), but a ${name.kind === "list" ? "string list" : name.kind} was found`,
          );
        } else if (more !== undefined || patterns?.kind === "number") {
          check.error(
            more ?? patterns!,
            codes.arguments,
            "the deleteheader command expects a string list as argument 2 (value patterns) and nothing after it",
          );
        } else {
          const text = check.constant(name);
          if (text !== undefined && !isFieldName(text)) {
            check.error(
              name,
              codes.value,
              `deleteheader command: specified field name \`${text.slice(0, 80)}' is invalid`,
            );
          }
        }
      },
      lower(call, to) {
        const subject: Subject = { op: "list", values: [] };
        const test = to.match(call, subject, call.arguments[1]);
        const matching = call.arguments[1] !== undefined;
        const index = call.tags.get("index")?.value;
        const data = {
          matching,
          ...(test.op === "match" ? { how: test.how, fold: test.fold } : {}),
          ...(index?.kind === "number" ? { index: call.tags.has("last") ? -index.value : index.value } : {}),
        };
        return [
          to.effect(
            "deleteheader",
            call.node.span,
            { name: to.values(call.arguments[0]), keys: to.values(call.arguments[1]) },
            data,
          ),
        ];
      },
    },
  ],
  evaluation: {
    effects: {
      addheader: (host, data, args, span) => {
        const [name = "", value = ""] = [args.name?.[0], args.value?.[0]];
        if (!isFieldName(name)) {
          throw new SieveRuntimeError(
            `addheader action: specified field name \`${name.slice(0, 80)}' is invalid`,
            span,
          );
        }
        if (!isFieldBody(value)) {
          throw new SieveRuntimeError(`addheader action: specified value \`${value.slice(0, 80)}' is invalid`, span);
        }
        if (Buffer.byteLength(value) + name.length > host.settings.editHeaderBytes) {
          throw new SieveRuntimeError(
            `addheader action: specified field is too large (max ${host.settings.editHeaderBytes} bytes)`,
            span,
          );
        }
        if (!allowed(host, name, "add")) {
          host.notes.push(`addheader: field ${name} is protected`);
          return;
        }
        host.mail = host.mail.withField(name, value, data.last === true);
      },
      deleteheader: (host, data, args, span) => {
        const name = args.name?.[0] ?? "";
        if (!isFieldName(name)) {
          throw new SieveRuntimeError(
            `deleteheader action: specified field name \`${name.slice(0, 80)}' is invalid`,
            span,
          );
        }
        if (!allowed(host, name, "delete")) {
          host.notes.push(`deleteheader: field ${name} is protected`);
          return;
        }
        const fields = doomed(host, data, name, args.keys ?? []);
        if (fields.size > 0) host.mail = host.mail.withoutFields(fields);
      },
    },
  },
};
