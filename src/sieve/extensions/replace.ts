/** RFC 5703 §5, §6: replace a MIME part, or enclose the message in a new one. */

import { foldField } from "../../message/edit.ts";
import { codes } from "../codes.ts";
import { SieveRuntimeError } from "../errors.ts";
import type { SieveHost } from "../host.ts";
import type { Extension } from "../registry.ts";
import { loopsAround } from "./foreverypart.ts";

/** Octets of a new part: as given with :mime, else plain UTF-8 text in an 8-bit-safe encoding. */
function partOf(text: string, isMime: boolean): Buffer {
  if (isMime) return Buffer.from(text);
  const encoded = Buffer.from(text)
    .toString("base64")
    .replace(/.{1,76}/g, "$&\r\n");
  return Buffer.from(`Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n${encoded}`);
}

function fields(groups: Readonly<Record<string, string | undefined>>): string {
  return Object.entries(groups)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${foldField(name, value!)}\r\n`)
    .join("");
}

/** The message's own fields without those that describe its body. */
function envelopeFields(host: SieveHost, without: readonly string[]): Buffer {
  const kept = host.mail.fields.filter(
    (field) => !field.lower.startsWith("content-") && field.lower !== "mime-version" && !without.includes(field.lower),
  );
  return Buffer.concat(kept.map((field) => field.bytes));
}

/** A boundary that doesn't occur in what it separates. */
function boundaryFor(bytes: Buffer): string {
  for (let n = 0; ; n++) {
    const boundary = `=_postern_${n}`;
    if (!bytes.includes(boundary)) return boundary;
  }
}

export const replace: Extension = {
  capability: "replace",
  specification: "RFC 5703 §5",
  doc: {
    summary: "Replaces a part of the message.",
    example: `foreverypart { if header :mime :type "content-type" "application" { replace "An attachment was removed."; } }`,
  },
  commands: [
    {
      kind: "command",
      name: "replace",
      positional: [{ name: "replacement", type: "string" }],
      tags: [{ name: "mime" }, { name: "subject", value: "string" }, { name: "from", value: "string" }],
      lower(call, to) {
        const value = (name: string) => to.values(call.tags.get(name)?.value);
        const groups = { text: to.values(call.arguments[0]), subject: value("subject"), from: value("from") };
        return [to.effect("replace", call.node.span, groups, { mime: call.tags.has("mime") })];
      },
    },
  ],
  evaluation: {
    effects: {
      replace: (host, data, args, span) => {
        const part = host.part ?? host.mail.root;
        const bytes = partOf(args.text?.[0] ?? "", data.mime === true);
        if (part === host.mail.root) {
          // §5: the message itself: subject and sender may change with it.
          const [subject, from] = [args.subject?.[0], args.from?.[0]];
          const gone = [...(subject === undefined ? [] : ["subject"]), ...(from === undefined ? [] : ["from"])];
          const head = fields({ Subject: subject, From: from, "MIME-Version": "1.0" });
          host.replaceMail(host.mail.rewritten(Buffer.concat([envelopeFields(host, gone), Buffer.from(head), bytes])));
        } else if (part.source !== host.mail.root.source) {
          throw new SieveRuntimeError("replace action: a part inside an encoded message can't be replaced", span);
        } else host.replacePart(part, bytes);
      },
    },
  },
};

export const enclose: Extension = {
  capability: "enclose",
  specification: "RFC 5703 §6",
  doc: {
    summary: "Wraps the message as an attachment of a new one.",
    example: `enclose :subject "Warning" "The attached message looks dangerous.";`,
  },
  commands: [
    {
      kind: "command",
      name: "enclose",
      positional: [{ name: "text", type: "string" }],
      tags: [
        { name: "subject", value: "string" },
        { name: "headers", value: "list" },
      ],
      check(call, check) {
        if (loopsAround(check).length > 0) {
          check.error(
            { span: call.node.nameSpan },
            codes.placement,
            "the enclose command applies to the whole message, not to parts in a foreverypart loop",
          );
        }
      },
      lower(call, to) {
        const value = (name: string) => to.values(call.tags.get(name)?.value);
        return [
          to.effect("enclose", call.node.span, {
            text: to.values(call.arguments[0]),
            subject: value("subject"),
            headers: value("headers"),
          }),
        ];
      },
    },
  ],
  evaluation: {
    effects: {
      enclose: (host, _data, args) => {
        const original = host.mail.bytes;
        const boundary = boundaryFor(original);
        const subject = args.subject?.[0] ?? host.mail.first("subject")?.decoded;
        // §6: To, From, Cc, Date and trace fields come from the enclosed message.
        const head = fields({ Subject: subject, "MIME-Version": "1.0" });
        const extra = (args.headers ?? []).map((line) => {
          const colon = line.indexOf(":");
          return colon > 0 ? `${foldField(line.slice(0, colon).trim(), line.slice(colon + 1).trim())}\r\n` : "";
        });
        const opening = `Content-Type: multipart/mixed; boundary="${boundary}"\r\n\r\n--${boundary}\r\n`;
        const middle = `\r\n--${boundary}\r\nContent-Type: message/rfc822\r\n\r\n`;
        host.replaceMail(
          host.mail.rewritten(
            Buffer.concat([
              envelopeFields(host, ["subject"]),
              Buffer.from(head + extra.join("") + opening),
              partOf(args.text?.[0] ?? "", false),
              Buffer.from(middle),
              original,
              Buffer.from(`\r\n--${boundary}--\r\n`),
            ]),
          ),
        );
      },
    },
  },
};
