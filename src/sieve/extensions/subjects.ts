/**
 * The header and address subjects that the base tests, `index`, `mime` and `date` share: which fields of the message
 * or of its MIME parts are looked at, and what text of each is compared.
 * Invariants: `data` of a subject is constant; names known at compile time are in `data.names`, lower case.
 */
import type { Data, Subject } from "../../language/ir.ts";
import type { MimePart } from "../../message/mime.ts";
import { parseParameterized } from "../../message/parameters.ts";
import { type AddressPart, addressPart } from "../address.ts";
import { type SieveHost, withNested } from "../host.ts";
import { headerEffects, type Lowering } from "../lower.ts";
import type { MailField } from "../mail.ts";
import type { Call } from "../registry.ts";

/** Tags that choose fields: :index and :last (RFC 5260), :mime and :anychild (RFC 5703). */
export function fieldData(call: Call): Record<string, unknown> {
  const index = call.tags.get("index")?.value;
  return {
    ...(index?.kind === "number" ? { index: call.tags.has("last") ? -index.value : index.value } : {}),
    ...(call.tags.has("mime") ? { mime: true, anychild: call.tags.has("anychild") } : {}),
  };
}

export function headerSubject(call: Call, to: Lowering): Subject {
  const parameters = to.constants(call.tags.get("param")?.value);
  const piece = ["type", "subtype", "contenttype"].find((name) => call.tags.has(name));
  const extra = { ...fieldData(call), ...(piece ? { piece } : {}), ...(parameters ? { parameters } : {}) };
  return named(piece || parameters ? "mimeHeader" : "header", call, to, extra);
}

export function addressSubject(call: Call, to: Lowering): Subject {
  return named("address", call, to, { ...fieldData(call), part: partOf(call) });
}

export function partOf(call: Call): AddressPart {
  const parts: AddressPart[] = ["localpart", "domain", "user", "detail"];
  return parts.find((name) => call.tags.has(name)) ?? "all";
}

function named(source: string, call: Call, to: Lowering, data: Record<string, unknown>): Subject {
  const names = to.constants(call.arguments[0])?.map((name) => name.toLowerCase());
  const args = names === undefined ? to.values(call.arguments[0]) : [];
  return to.subject(source, { ...(names === undefined ? {} : { names }), ...data }, headerEffects, args);
}

/** The fields that a subject's data names, in message order for each name. */
export function headerFields(host: SieveHost, data: Data, args: readonly string[]): readonly MailField[] {
  const names = (data.names as readonly string[] | undefined) ?? args.map((name) => name.toLowerCase());
  if (data.mime === true) return partFields(host, names, data);
  const index = data.index as number | undefined;
  if (names.length === 1) return pick(host.mail.all(names[0]!), index);
  return pick(
    names.flatMap((name) => host.mail.all(name)),
    index,
  );
}

/** RFC 5260 §6: one of the fields that are asked for, counted from the top, or from the bottom when negative. */
function pick(fields: readonly MailField[], index: number | undefined): readonly MailField[] {
  if (index === undefined) return fields;
  const field = fields.at(index > 0 ? index - 1 : index);
  return field === undefined ? [] : [field];
}

/** RFC 5703 §4: fields of the current part, with :anychild those of all parts below it too. */
function partFields(host: SieveHost, names: readonly string[], data: Data): MailField[] {
  const top = host.part ?? host.mail.root;
  const parts: Iterable<MimePart> = data.anychild === true ? withNested(top) : [top];
  const index = data.index as number | undefined;
  const found: MailField[] = [];
  for (const part of parts) {
    const fields = names.flatMap((name) => (part === host.mail.root ? host.mail.all(name) : part.headers.all(name)));
    found.push(...pick(fields, index));
  }
  return found;
}

/** RFC 5703 §4.1: pieces of structured MIME fields. */
export function mimePieces(host: SieveHost, data: Data, args: readonly string[]): string[] {
  const piece = data.piece as string | undefined;
  const wanted = (data.parameters as readonly string[] | undefined)?.map((name) => name.toLowerCase());
  return headerFields(host, data, args).flatMap((field) => {
    const parsed = parseParameterized(field.value);
    if (wanted !== undefined) return wanted.map((name) => parsed.parameters.get(name) ?? "");
    const [type = "", subtype] = parsed.value.split("/", 2).map((text) => text.trim());
    if (piece === "type") return [type];
    if (piece === "subtype") return subtype === undefined ? [""] : [subtype];
    return [subtype === undefined ? type : `${type}/${subtype}`];
  });
}

/** RFC 5228 §5.1: the asked part of each address; what is no address has no parts and is compared as a whole. */
export function addressValues(host: SieveHost, data: Data, args: readonly string[]): string[] {
  const part = data.part as AddressPart;
  const delimiter = host.settings.recipientDelimiter;
  const values: string[] = [];
  for (const field of headerFields(host, data, args)) {
    const valid = host.addressesOf(field).filter((mailbox) => mailbox.domain !== "" && mailbox.local !== "");
    if (valid.length === 0 && (part === "all" || field.value === "")) values.push(field.value);
    for (const mailbox of valid) {
      const value = addressPart(mailbox, part, delimiter);
      if (value !== undefined) values.push(value);
    }
  }
  return values;
}
