/** RFC 5229: set, string and ${…}. References are found in strings.ts; match variables come from the program. */
import { codes } from "../codes.ts";
import type { SieveHost } from "../host.ts";
import type { Call, Extension, TagSpec } from "../registry.ts";

/** §4.1: modifiers with their precedence; higher ones are applied first. */
const modifiers: Record<string, { precedence: number; apply(text: string): string }> = {
  lower: { precedence: 40, apply: (text) => text.toLowerCase() },
  upper: { precedence: 40, apply: (text) => text.toUpperCase() },
  lowerfirst: { precedence: 30, apply: (text) => firstPoint(text, (c) => c.toLowerCase()) },
  upperfirst: { precedence: 30, apply: (text) => firstPoint(text, (c) => c.toUpperCase()) },
  quotewildcard: { precedence: 20, apply: (text) => text.replace(/[*?\\]/g, "\\$&") },
  quoteregex: { precedence: 20, apply: (text) => text.replace(/[\\^$.[\]{}()*+?|]/g, "\\$&") },
  // RFC 5435 §6
  encodeurl: { precedence: 15, apply: encodeUrl },
  length: { precedence: 10, apply: (text) => String([...text].length) },
};

function firstPoint(text: string, change: (first: string) => string): string {
  const [first = ""] = text;
  return change(first) + text.slice(first.length);
}

function encodeUrl(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** Modifiers that come with this extension; regex and enotify add theirs to `set`. */
export const modifierNames = ["lower", "upper", "lowerfirst", "upperfirst", "quotewildcard", "length"];

/** The modifiers of a call in the order in which they are applied. */
export function modifierOrder(call: Call): string[] {
  const used = [...call.tags.keys()].filter((name) => modifiers[name] !== undefined);
  return used.sort((a, b) => modifiers[b]!.precedence - modifiers[a]!.precedence);
}

/** A modifier tag of set; those of equal precedence exclude each other. */
export function modifier(name: string): TagSpec {
  return {
    name,
    check(use, call, check) {
      const other = [...call.tags.keys()].find(
        (tag) => tag !== name && modifiers[tag]?.precedence === modifiers[name]!.precedence,
      );
      if (other !== undefined) {
        check.error(
          use.node,
          codes.arguments,
          `modifiers :${other} and :${name} specified for the set command conflict having equal precedence`,
        );
      }
    },
  };
}

/** The longest beginning of at most `limit` octets that ends between characters (§5.2 allows to shorten). */
export function bounded(text: string, limit: number): string {
  if (text.length * 3 <= limit || Buffer.byteLength(text) <= limit) return text;
  const bytes = Buffer.from(text);
  let end = limit;
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end);
}

function assigned(host: SieveHost, names: readonly string[], text: string): string {
  const limit = host.settings.variableBytes;
  let value = text;
  for (const name of names) {
    value = modifiers[name]!.apply(value);
    // A %XX that was cut in two is dropped.
    value = name === "encodeurl" ? bounded(value, limit).replace(/%[0-9A-F]?$/, "") : bounded(value, limit);
  }
  return bounded(value, limit);
}

export const variables: Extension = {
  capability: "variables",
  specification: "RFC 5229",
  changesReading: true,
  doc: {
    summary: "Variables, match variables and the string test.",
    example: `if header :matches "List-ID" "*<*@*" { set :lower "list" "$\{2}"; fileinto "lists/$\{list}"; }`,
  },
  commands: [
    {
      kind: "command",
      name: "set",
      positional: [
        { name: "name", type: "string" },
        { name: "value", type: "string" },
      ],
      tags: modifierNames.map(modifier),
      check(call, check) {
        const name = call.arguments[0]!;
        const text = name.kind === "string" ? name.text : "";
        const problem = check.scope.nameProblem(check.constant(name) ?? text);
        if (problem) check.error(name, codes.variable, problem);
        else check.scope.slot(text);
      },
      lower(call, to) {
        const slot = to.scope.slot(to.constants(call.arguments[0])?.[0] ?? "")!;
        const value = to.value(call.arguments[1]);
        return [
          {
            op: "set",
            slot,
            value: { op: "host", name: "assigned", args: [value], data: { modifiers: modifierOrder(call) } },
            span: call.node.span,
          },
        ];
      },
    },
  ],
  tests: [
    {
      kind: "test",
      name: "string",
      positional: [
        { name: "source", type: "list" },
        { name: "key list", type: "list" },
      ],
      match: true,
      lower(call, to) {
        const values = to.values(call.arguments[0]);
        // §5: an empty string doesn't count.
        const subject = call.tags.has("count")
          ? ({ op: "host", source: "nonEmpty", data: {}, args: values, stable: false, invalidatedBy: [] } as const)
          : ({ op: "list", values } as const);
        return to.match(call, subject, call.arguments[1]);
      },
    },
  ],
  evaluation: {
    sources: { nonEmpty: (_host, _data, args) => args.filter((text) => text !== "") },
    values: {
      matchVariable: (host, data) => host.matchVariable(data.index as number),
      assigned: (host, data, args) => assigned(host, data.modifiers as readonly string[], args[0] ?? ""),
    },
  },
};
