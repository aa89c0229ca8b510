/** RFC 5435 with the mailto method of RFC 5436. Sending is the gateway's; what is sent: ../replies/notification.ts. */
import { parseScriptAddress } from "../address.ts";
import { codes } from "../codes.ts";
import { SieveRuntimeError } from "../errors.ts";
import { parseMailto } from "../mailto.ts";
import type { Extension } from "../registry.ts";
import { fccGroups, fccTarget } from "./fcc.ts";
import { modifier } from "./variables.ts";

/** Why a method URI can't be used, undefined when it can. */
function methodProblem(uri: string): string | undefined {
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(uri)?.[1]?.toLowerCase();
  if (scheme === undefined) return `invalid URI: no method in '${uri.slice(0, 80)}'`;
  if (scheme !== "mailto") return `invalid method '${scheme}'`;
  const parsed = parseMailto(uri);
  return parsed.ok ? undefined : `mailto URI: ${parsed.problem}`;
}

export const enotify: Extension = {
  capability: "enotify",
  specification: "RFC 5435, RFC 5436",
  doc: {
    summary: "Notifies by mail.",
    example: `notify :importance "1" :message "Mail from the boss" "mailto:me@example.net";`,
  },
  commands: [
    {
      kind: "command",
      name: "notify",
      positional: [{ name: "method", type: "string" }],
      tags: [
        {
          name: "from",
          value: "string",
          after(call, check) {
            const use = call.tags.get("from")!;
            const text = check.constant(use.value);
            const parsed = text === undefined || text === "" ? undefined : parseScriptAddress(text);
            if (parsed?.ok === false) {
              check.error(
                use.value!,
                codes.value,
                `notify command: specified :from address '${text}' is invalid for the mailto method: ${parsed.problem}`,
              );
            }
          },
        },
        {
          name: "importance",
          value: "string",
          check(use, _call, check) {
            const text = check.constant(use.value);
            if (text !== undefined && !/^[123]$/.test(text))
              check.error(use.value!, codes.value, `invalid :importance value for notify command: ${text}`);
          },
        },
        {
          name: "options",
          value: "list",
          check(use, _call, check) {
            for (const node of check.strings(use.value)) {
              const option = check.constant(node);
              if (option !== undefined && !/^[A-Za-z0-9][A-Za-z0-9._-]*=/.test(option)) {
                check.error(
                  node,
                  codes.value,
                  `notify command: invalid option name specified in option '${option.slice(0, 80)}'`,
                );
              }
            }
          },
        },
        { name: "message", value: "string" },
      ],
      check(call, check) {
        const uri = check.constant(call.arguments[0]);
        const problem = uri === undefined ? undefined : methodProblem(uri);
        if (problem) check.error(call.arguments[0]!, codes.value, `notify command: ${problem}`);
      },
      lower(call, to) {
        const value = (name: string) => to.values(call.tags.get(name)?.value);
        const names = ["from", "importance", "options", "message"];
        const copy = fccGroups(call, to);
        const groups = {
          method: to.values(call.arguments[0]),
          ...Object.fromEntries(names.map((name) => [name, value(name)])),
          ...copy.groups,
        };
        return [to.effect("notify", call.node.span, groups, copy.data)];
      },
    },
  ],
  tests: [
    {
      kind: "test",
      name: "valid_notify_method",
      positional: [{ name: "notification-uris", type: "list" }],
      lower: (call, to) => to.ask("validNotifyMethod", call.node.span, to.values(call.arguments[0])),
    },
    {
      kind: "test",
      name: "notify_method_capability",
      positional: [
        { name: "notification-uri", type: "string" },
        { name: "notification-capability", type: "string" },
        { name: "key list", type: "list" },
      ],
      match: true,
      lower(call, to) {
        const args = call.arguments.slice(0, 2).flatMap((argument) => to.values(argument));
        return to.match(call, to.subject("notifyCapability", {}, [], args), call.arguments[2]);
      },
    },
  ],
  tags: [{ on: ["set", "extracttext"], tag: modifier("encodeurl") }],
  evaluation: {
    asks: { validNotifyMethod: (_host, _data, args) => args.every((uri) => methodProblem(uri) === undefined) },
    sources: {
      // RFC 5436 §2.4: nobody knows whether a mail reader is online.
      notifyCapability: (_host, _data, [uri = "", capability = ""]) =>
        methodProblem(uri) === undefined && capability.toLowerCase() === "online" ? ["maybe"] : [],
    },
    effects: {
      notify: (host, data, args, span) => {
        const method = args.method?.[0] ?? "";
        const problem = methodProblem(method);
        if (problem) throw new SieveRuntimeError(`notify action: ${problem}`, span);
        const from = args.from?.[0];
        if (from !== undefined && from !== "") {
          const parsed = parseScriptAddress(from);
          if (!parsed.ok)
            throw new SieveRuntimeError(
              `notify action: specified :from address '${from.slice(0, 80)}' is invalid: ${parsed.problem}`,
              span,
            );
        }
        host.result.add(
          {
            action: "notify",
            method,
            importance: args.importance?.[0] ?? "2",
            options: args.options ?? [],
            message: args.message?.[0] ?? "",
            ...(from ? { from } : {}),
            ...fccTarget(host, data, args, span),
            mail: host.snapshot(),
          },
          span,
        );
      },
    },
  },
};
