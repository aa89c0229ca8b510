/**
 * Conformance suite "mime": messages of others with the structure that another parser found, in the form of its JSON.
 * Compared: the parts and their kinds, contents, header names and offsets, address lists, dates, content types, and
 * which parts are text, HTML and attachments. Not compared: the clauses of Received, which nothing here reads.
 * Failure: rejects when the folder can't be read.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { budgetWith } from "../config/budget.ts";
import type { Suite, SuiteResult } from "../telemetry/suite.ts";
import { mailboxesOf, parseAddresses } from "./addresses.ts";
import { bodiesOf, isMedia } from "./bodies.ts";
import { parseDate } from "./date.ts";
import type { HeaderField } from "./headers.ts";
import type { MimePart } from "./mime.ts";
import { parseParameterized } from "./parameters.ts";
import { parseMessage } from "./parse.ts";

const budget = budgetWith();

const mime: Suite = {
  name: "mime",
  async run(dir) {
    const result: SuiteResult = { name: "mime", passed: 0, failed: [], skipped: 0 };
    for (const entry of (await readdir(dir, { recursive: true })).filter((name) => name.endsWith(".json")).sort()) {
      const crlf = entry.endsWith(".crlf.json");
      const message = await readFile(join(dir, entry.replace(crlf ? ".crlf.json" : ".json", ".eml")));
      const text = message.toString("latin1").replace(/\r?\n/g, crlf ? "\r\n" : "\n");
      const bytes = Buffer.from(text, "latin1");
      const expected = plain(JSON.parse(await readFile(join(dir, entry), "utf8")));
      const difference = firstDifference(expected, plain(describe(parseMessage(bytes, budget).root)), "");
      if (difference === undefined) result.passed++;
      else result.failed.push({ name: entry, reason: difference });
    }
    return result;
  },
};

export const suites: Suite[] = [mime];

const addressFields = /^(from|to|cc|bcc|reply-to|sender|resent-(from|to|cc|bcc|sender))$/;
const idFields = /^(message-id|content-id|return-path|in-reply-to|references|resent-message-id)$/;

/** A message in the data's own form. */
function describe(root: MimePart): unknown {
  const parts = [...root.walk()];
  const indexes = (of: readonly MimePart[]) => of.map((part) => parts.indexOf(part));
  const bodies = bodiesOf(root);
  return {
    html_body: indexes(bodies.html),
    text_body: indexes(bodies.text),
    // The data lists inline media among the attachments too.
    attachments: indexes(
      parts.filter((part) => bodies.attachments.includes(part) || (isMedia(part) && bodies.inline.includes(part))),
    ),
    parts: parts.map((part) => ({
      headers: part.headers.fields.map(describeField),
      body: describeBody(part, indexes, !bodies.inline.includes(part)),
      offset_header: part.start,
      offset_body: part.bodyStart,
      offset_end: part.end,
    })),
  };
}

function describeBody(part: MimePart, indexes: (of: readonly MimePart[]) => number[], attached: boolean): unknown {
  if (part.isMultipart) return { Multipart: indexes(part.children) };
  if (part.nested !== undefined) return { Message: describe(part.nested) };
  if (part.mediaType === "text/html") return { Html: part.text };
  if (part.type === "text" || part.type === "multipart") return { Text: part.text };
  return { [attached ? "Binary" : "InlineBinary"]: [...part.content] };
}

function describeField(field: HeaderField): unknown {
  return {
    name: field.lower.replace(/-/g, "_"),
    value: describeValue(field),
    offset_field: field.start,
    offset_start: field.valueStart,
    offset_end: field.end,
  };
}

function describeValue(field: HeaderField): unknown {
  if (field.value === "") return "Empty";
  if (field.lower === "received") return "Received";
  if (addressFields.test(field.lower)) {
    const list = mailboxesOf(parseAddresses(field.value));
    return { Address: { List: list.map(({ name, address }) => ({ name: name || null, address: address || null })) } };
  }
  if (field.lower === "date" || field.lower === "resent-date") return describeDate(field);
  if (field.lower === "content-type" || field.lower === "content-disposition") {
    const { value, parameters } = parseParameterized(field.value);
    const [type, subtype] = value.toLowerCase().split("/");
    const attributes = [...parameters].map(([name, text]) => ({ name, value: text }));
    return {
      ContentType: { c_type: type, c_subtype: subtype ?? null, attributes: attributes.length > 0 ? attributes : null },
    };
  }
  if (idFields.test(field.lower)) return { Text: field.value.replace(/^<|>$/g, "") };
  return { Text: field.decoded };
}

function describeDate(field: HeaderField): unknown {
  const date = parseDate(field.value);
  if (date === undefined) return "Empty";
  const { year, month, day, hour, minute, second, offset } = date;
  const zone = Math.abs(offset);
  const [tz_hour, tz_minute] = [Math.floor(zone / 60), zone % 60];
  return { DateTime: { year, month, day, hour, minute, second, tz_before_gmt: offset < 0, tz_hour, tz_minute } };
}

/** The data without what is not compared; names of unknown fields in one form. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value), (key, item) => {
    if (key === "is_encoding_problem") return undefined;
    if (key === "name" && typeof item === "object" && item !== null && "other" in item) {
      return String(item.other).toLowerCase().replace(/-/g, "_");
    }
    if (key === "Text" && typeof item === "string") return item.replace(/\r?\n(?=[ \t])/g, "");
    if (typeof item === "object" && item !== null && "Received" in item) return "Received";
    if (typeof item === "object" && item !== null && "ContentType" in item)
      item.ContentType.c_type = item.ContentType.c_type?.toLowerCase();
    return item;
  });
}

/** Path and both values of the first place where two JSON values differ. */
function firstDifference(expected: unknown, actual: unknown, path: string): string | undefined {
  if (isDeepStrictEqual(expected, actual)) return undefined;
  if (isRecord(expected) && isRecord(actual)) {
    for (const key of new Set([...Object.keys(expected), ...Object.keys(actual)])) {
      const difference = firstDifference(expected[key], actual[key], `${path}.${key}`);
      if (difference !== undefined) return difference;
    }
  }
  const short = (value: unknown) => JSON.stringify(value)?.slice(0, 120);
  return `${path.slice(1)}: expected ${short(expected)}, got ${short(actual)}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
