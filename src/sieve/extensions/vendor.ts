/** Extensions of Pigeonhole that scripts in the wild use: vnd.dovecot.debug, vnd.dovecot.environment, vnd.dovecot.report. */

import type { Data } from "../../language/ir.ts";
import { parseScriptAddress } from "../address.ts";
import { codes } from "../codes.ts";
import { SieveRuntimeError } from "../errors.ts";
import type { SieveHost } from "../host.ts";
import type { Extension } from "../registry.ts";
import { environmentItem } from "./environment.ts";

export const debug: Extension = {
  capability: "vnd.dovecot.debug",
  specification: "Pigeonhole",
  doc: { summary: "debug_log writes a line to the script's log.", example: `debug_log "came here";` },
  commands: [
    {
      kind: "command",
      name: "debug_log",
      positional: [{ name: "message", type: "string" }],
      lower: (call, to) => [to.effect("debugLog", call.node.span, { message: to.values(call.arguments[0]) })],
    },
  ],
  evaluation: {
    effects: {
      debugLog: (host, _data, args) => {
        host.notes.push((args.message?.[0] ?? "").replace(/[\x00-\x1f\x7f]+/g, " "));
      },
    },
  },
};

export const vendorEnvironment: Extension = {
  capability: "vnd.dovecot.environment",
  specification: "Pigeonhole",
  implies: ["environment"],
  doc: { summary: "Environment items as variables `env.name` in braces.", example: `set "place" "$\{env.location}";` },
  namespaces: { env: "environmentVariable" },
  evaluation: { values: { environmentVariable: environmentVariable } },
};

/** Identifiers have no "-": "_" stands for it. */
function environmentVariable(host: SieveHost, data: Data): string {
  const name = (data.name as string).toLowerCase();
  return environmentItem(host, name) ?? environmentItem(host, name.replaceAll("_", "-")) ?? "";
}

/** RFC 5965 §7.3 */
const feedbackTypes = /^[A-Za-z0-9!#$%&'*+.^_`{|}~-]+$/;

export const report: Extension = {
  capability: "vnd.dovecot.report",
  specification: "Pigeonhole, RFC 5965",
  doc: {
    summary: "Sends an abuse report (ARF).",
    example: `report :headers_only "abuse" "This is spam" "abuse@example.net";`,
  },
  commands: [
    {
      kind: "command",
      name: "report",
      positional: [
        { name: "feedback-type", type: "string" },
        { name: "message", type: "string" },
        { name: "address", type: "string" },
      ],
      tags: [{ name: "headers_only" }],
      check(call, check) {
        const type = check.constant(call.arguments[0]);
        if (type !== undefined && !feedbackTypes.test(type)) {
          check.error(call.arguments[0]!, codes.value, `specified feedback type '${type.slice(0, 80)}' is invalid`);
        }
        const address = check.constant(call.arguments[2]);
        const parsed = address === undefined ? undefined : parseScriptAddress(address);
        if (parsed?.ok === false) {
          check.error(
            call.arguments[2]!,
            codes.value,
            `specified report address '${address}' is invalid: ${parsed.problem}`,
          );
        }
      },
      lower(call, to) {
        const [type, message, address] = call.arguments.map((argument) => to.values(argument));
        const groups = { type: type!, message: message!, address: address! };
        return [to.effect("report", call.node.span, groups, { headersOnly: call.tags.has("headers_only") })];
      },
    },
  ],
  evaluation: {
    effects: {
      report: (host, data, args, span) => {
        const [type = "", text = "", address = ""] = ["type", "message", "address"].map((name) => args[name]?.[0]);
        const parsed = parseScriptAddress(address);
        if (!parsed.ok)
          throw new SieveRuntimeError(
            `specified report address '${address.slice(0, 80)}' is invalid: ${parsed.problem}`,
            span,
          );
        if (!feedbackTypes.test(type))
          throw new SieveRuntimeError(`report action: specified feedback type '${type.slice(0, 80)}' is invalid`, span);
        host.result.add(
          {
            action: "report",
            feedbackType: type.toLowerCase(),
            text,
            address,
            headersOnly: data.headersOnly === true,
            mail: host.snapshot(),
          },
          span,
        );
      },
    },
  },
};
