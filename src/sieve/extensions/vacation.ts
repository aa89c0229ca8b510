/** RFC 5230 vacation and RFC 6131 :seconds. Who gets a reply, and its text: ../replies/vacation.ts. */
import { createHash } from "node:crypto";
import { parseScriptAddress } from "../address.ts";
import { codes } from "../codes.ts";
import type { SieveHost } from "../host.ts";
import type { Extension, TagSpec } from "../registry.ts";
import { fccGroups, fccTarget } from "./fcc.ts";

const day = 86_400;

const fromTag: TagSpec = {
  name: "from",
  value: "string",
  check(use, _call, check) {
    const text = check.constant(use.value);
    const parsed = text === undefined ? undefined : parseScriptAddress(text);
    if (parsed?.ok === false) {
      check.error(
        use.value!,
        codes.value,
        `specified :from address '${text}' is invalid for vacation action: ${parsed.problem}`,
      );
    }
  },
};

const addressesTag: TagSpec = {
  name: "addresses",
  value: "list",
  check(use, _call, check) {
    for (const node of check.strings(use.value)) {
      const text = check.constant(node);
      const parsed = text === undefined ? undefined : parseScriptAddress(text, check.context.settings.utf8Addresses);
      if (parsed?.ok === false) {
        check.warn(
          node,
          codes.doubtful,
          `specified :addresses item '${text}' is invalid for vacation action: ${parsed.problem}`,
        );
      }
    }
  },
};

/** §4.1 and RFC 6131 §2: the administrator's limits apply silently. */
function period(host: SieveHost, seconds: number | undefined): number {
  const { minPeriod, defaultPeriod, maxPeriod } = host.settings.vacation;
  if (seconds === undefined) return defaultPeriod;
  return Math.max(minPeriod, maxPeriod > 0 ? Math.min(seconds, maxPeriod) : seconds);
}

export const vacation: Extension = {
  capability: "vacation",
  specification: "RFC 5230",
  doc: {
    summary: "Answers each sender once in a period.",
    example: `vacation :days 7 :addresses ["tjs@example.edu"] :subject "Away" "I'm away until Monday.";`,
  },
  commands: [
    {
      kind: "command",
      name: "vacation",
      positional: [{ name: "reason", type: "string" }],
      tags: [
        { name: "days", group: ":days or :seconds", value: "number" },
        { name: "subject", value: "string" },
        fromTag,
        addressesTag,
        { name: "mime" },
        { name: "handle", value: "string" },
      ],
      lower(call, to) {
        const value = (name: string) => to.values(call.tags.get(name)?.value);
        const names = ["subject", "from", "addresses", "handle"];
        const groups = Object.fromEntries(names.map((name) => [name, value(name)]));
        const [days, seconds] = [call.tags.get("days")?.value, call.tags.get("seconds")?.value];
        const asked =
          days?.kind === "number" ? days.value * day : seconds?.kind === "number" ? seconds.value : undefined;
        const copy = fccGroups(call, to);
        const data = { mime: call.tags.has("mime"), ...copy.data, ...(asked === undefined ? {} : { seconds: asked }) };
        const reason = to.values(call.arguments[0]);
        return [to.effect("vacation", call.node.span, { reason, ...groups, ...copy.groups }, data)];
      },
    },
  ],
  evaluation: {
    effects: {
      vacation: (host, data, args, span) => {
        const [reason = "", subject, from, handle] = ["reason", "subject", "from", "handle"].map(
          (name) => args[name]?.[0],
        );
        const mime = data.mime === true;
        // §4.2: without a handle the arguments that shape the reply are its identity.
        const identity = createHash("sha256")
          .update(JSON.stringify([reason, subject ?? "", from ?? "", mime]))
          .digest("hex")
          .slice(0, 32);
        host.result.add(
          {
            action: "vacation",
            reason,
            ...(subject === undefined ? {} : { subject }),
            ...(from === undefined || from === "" ? {} : { from }),
            ...fccTarget(host, data, args, span),
            addresses: args.addresses ?? [],
            mime,
            period: period(host, data.seconds as number | undefined),
            handle: handle ?? identity,
            mail: host.snapshot(),
          },
          span,
        );
      },
    },
  },
};

export const vacationSeconds: Extension = {
  capability: "vacation-seconds",
  specification: "RFC 6131",
  implies: ["vacation"],
  doc: { summary: "`:seconds` on vacation.", example: `vacation :seconds 1800 "In a meeting.";` },
  tags: [{ on: ["vacation"], tag: { name: "seconds", group: ":days or :seconds", value: "number" } }],
};
