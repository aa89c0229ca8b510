/**
 * The per-recipient fields of message/delivery-status (RFC 3464 §2.3), read also where broken mailers put them: in a
 * text part, with the wrong type, or with a field missing.
 */
import type { ParsedMessage } from "../../message/parse.ts";
import { isVague, statusIn } from "./statuses.ts";

export interface RecipientFields {
  address: string;
  action: "failed" | "delayed" | "delivered" | "relayed" | "expanded";
  status: string;
  diagnostic: string;
}

const actions = new Set(["failed", "delayed", "delivered", "relayed", "expanded"]);
const fieldForm = /^([A-Za-z][A-Za-z-]{1,40})[ \t]*:[ \t]*(.*)$/;

/** Recipients named by status fields; none when the message has no such fields. */
export function deliveryStatus(message: ParsedMessage, notice: string, limit: number): RecipientFields[] {
  const found = message
    .parts()
    .filter((part) => /^message\/(?:global-)?delivery-status$/.test(part.mediaType))
    .flatMap((part) => readRecords(fieldText(part.content.subarray(0, limit))));
  if (found.length > 0) return found;
  return readRecords(/^[> \t]*(?:Final|Original)-Recipient[ \t]*:/im.test(notice) ? notice.replace(/^> ?/gm, "") : "");
}

/** RFC 3464 has no charset for these fields; those who write Japanese into them switch to it by escape sequences. */
function fieldText(content: Buffer): string {
  return content.includes("\x1b$") ? new TextDecoder("iso-2022-jp").decode(content) : content.toString("utf8");
}

/**
 * RFC 3464 §2.1: records are separated by blank lines. Some mailers forget those, so a recipient field that comes a
 * second time begins a record, too.
 */
function readRecords(text: string): RecipientFields[] {
  const found: RecipientFields[] = [];
  let fields = new Map<string, string>();
  let name = "";
  const finish = () => {
    const address = addressIn(fields.get("final-recipient")) || addressIn(fields.get("original-recipient"));
    if (address !== "") found.push(recipientOf(address, fields));
    fields = new Map();
    name = "";
  };
  for (const line of text.split(/\r?\n/)) {
    const parts = fieldForm.exec(line);
    if (parts) {
      name = parts[1]!.toLowerCase();
      if (fields.has(name) && /^(?:final|original)-recipient$/.test(name)) finish();
      name = parts[1]!.toLowerCase();
      if (!fields.has(name)) fields.set(name, parts[2]!.trim());
    } else if (line.trim() === "") finish();
    else if (/^[ \t]/.test(line) && name !== "") fields.set(name, `${fields.get(name)} ${line.trim()}`);
    else name = "";
  }
  finish();
  return found;
}

function recipientOf(address: string, fields: ReadonlyMap<string, string>): RecipientFields {
  const word = (fields.get("action") ?? "").toLowerCase().split(/[^a-z]/)[0] ?? "";
  const diagnostic = (fields.get("diagnostic-code") ?? "").replace(/^[A-Za-z0-9-]+[ \t]*;[ \t]*/, "");
  const given = /[245]\.\d{1,3}\.\d{1,3}/.exec(fields.get("status") ?? "")?.[0] ?? "";
  const inner = statusIn(diagnostic);
  const status = isVague(given) && inner !== "" ? inner : given;
  const comment = /\(([^)]{4,200})\)/.exec(fields.get("status") ?? "")?.[1] ?? "";
  const fallback = status.startsWith("2") ? "delivered" : "failed";
  const action = (actions.has(word) ? word : fallback) as RecipientFields["action"];
  return { address, action, status, diagnostic: diagnostic || comment };
}

/** "rfc822; <bob@example.org>" → bob@example.org; "" when there is none. */
function addressIn(value: string | undefined): string {
  if (value === undefined) return "";
  const text = value.replace(/^[A-Za-z0-9-]+[ \t]*;[ \t]*/, "");
  return /[^\s<>()"',;:]+@[^\s<>()"',;:]+/.exec(text)?.[0]?.replace(/\.$/, "") ?? text.replace(/[<>]/g, "").trim();
}
