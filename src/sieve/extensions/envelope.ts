/** RFC 5228 §5.4 and RFC 6009 §2, §3: tests of the envelope, its DSN and DELIVERBY parameters. */
import { addressPart, parsePath } from "../address.ts";
import { codes } from "../codes.ts";
import type { SieveHost } from "../host.ts";
import { envelopeEffects } from "../lower.ts";
import type { Extension } from "../registry.ts";
import { partOf } from "./subjects.ts";

const basic = new Set(["from", "to", "auth", "orig_to"]);
const dsn = new Set(["notify", "orcpt", "ret", "envid"]);
const deliverBy = new Set(["bytimeabsolute", "bytimerelative", "bymode", "bytrace"]);

/** Texts of one envelope part; address parts apply to paths only. */
function values(host: SieveHost, part: string, which: ReturnType<typeof partOf>): string[] {
  const { envelope } = host;
  if (part === "auth") return envelope.auth === undefined ? [] : [envelope.auth];
  if (!basic.has(part)) {
    const value = envelope.parts?.[part];
    return value === undefined ? [] : [value];
  }
  const path = part === "from" ? envelope.from : part === "to" ? envelope.to : (envelope.originalTo ?? envelope.to);
  // RFC 5228 §5.4: the null reverse-path is the empty string, whatever part is asked for.
  if (path === "") return which === "detail" ? [] : [""];
  const parsed = parsePath(path, { lonelyLocal: true });
  if (!parsed.ok) return which === "all" ? [path] : [];
  const value = addressPart(parsed.address, which, host.settings.recipientDelimiter);
  return value === undefined ? [] : [value];
}

export const envelope: Extension = {
  capability: "envelope",
  specification: "RFC 5228 §5.4",
  doc: {
    summary: "Tests MAIL FROM and RCPT TO.",
    example: `if envelope :all :is "from" "tim@example.com" { discard; }`,
  },
  tests: [
    {
      kind: "test",
      name: "envelope",
      positional: [
        { name: "envelope-part", type: "list" },
        { name: "key list", type: "list" },
      ],
      match: true,
      addressPart: true,
      check(call, check) {
        for (const name of check.strings(call.arguments[0])) {
          const part = check.constant(name)?.toLowerCase();
          if (part === undefined || basic.has(part)) continue;
          if (check.scope.enabled.has("envelope-dsn") && dsn.has(part)) continue;
          if (check.scope.enabled.has("envelope-deliverby") && deliverBy.has(part)) continue;
          const hint = dsn.has(part) ? `add: require "envelope-dsn";` : undefined;
          check.error(
            name,
            codes.value,
            `specified envelope part '${part}' is not supported by the envelope test`,
            hint,
          );
        }
      },
      lower(call, to) {
        const parts = to.constants(call.arguments[0])?.map((name) => name.toLowerCase());
        const args = parts === undefined ? to.values(call.arguments[0]) : [];
        const subject = to.subject(
          "envelope",
          { ...(parts ? { parts } : {}), which: partOf(call) },
          envelopeEffects,
          args,
        );
        return to.match(call, subject, call.arguments[1]);
      },
    },
  ],
  evaluation: {
    sources: {
      envelope: (host, data, args) => {
        const parts = (data.parts as readonly string[] | undefined) ?? args.map((name) => name.toLowerCase());
        return parts.flatMap((part) => values(host, part, data.which as ReturnType<typeof partOf>));
      },
    },
  },
};

export const envelopeDsn: Extension = {
  capability: "envelope-dsn",
  specification: "RFC 6009 §2",
  doc: { summary: "Envelope parts notify, orcpt, ret and envid.", example: `if envelope "notify" "never" { stop; }` },
};

export const envelopeDeliverBy: Extension = {
  capability: "envelope-deliverby",
  specification: "RFC 6009 §3",
  doc: {
    summary: "Envelope parts bytimeabsolute, bytimerelative, bymode and bytrace.",
    example: `if envelope "bymode" "r" { stop; }`,
  },
};
