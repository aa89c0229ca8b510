/** Classes of messages: header fields, attachments and sizes that a policy tells apart. */
import { type Budget, budgetDefaults } from "../../config/budget.ts";
import { answers, type TextTest, witnessesOf } from "../../language/prove/witness.ts";
import { parseMessage } from "../../message/parse.ts";
import type { Played } from "../play/played.ts";
import type { Dimension, Value } from "./cases.ts";
import { distinct } from "./envelope.ts";
import type { Reading } from "./reading.ts";

/** Of so many classes of a field's text every subset is tried, as that many fields. */
const mostSubsets = 4;
/** Larger messages are announced (SIZE=) but not made. */
const largestMessage = 64 * 1024;

export function messageDimensions(reading: Reading, budget: Budget): Dimension[] {
  const out: Dimension[] = [];
  for (const [name, tests] of reading.headers) out.push(fieldDimension(name, tests, reading, budget));
  for (const [source, tests] of reading.strings) out.push(partDimension(source, tests, reading, budget));
  const sizes = reading.tests.get("mailSize") ?? [];
  if (sizes.length > 0) out.push(sizeDimension(sizes, reading));
  return out;
}

const arrived = ({ events }: Played): boolean => events.some(({ event }) => event === "onHeadersReceived");

/**
 * The values of a list of strings that tests tell apart: none, one, or several at once. `carried` answers what a message
 * that was made with the text says: a text that a message can't carry is none that will come.
 */
function lists(
  name: string,
  tests: readonly TextTest[],
  reading: Reading,
  budget: Budget,
  carried: (text: string) => readonly string[],
): string[][] {
  const found = witnessesOf(tests, "zq7", budget);
  if (!found.exact) reading.gaps.push(found.gap);
  const texts = found.texts.filter((text) => {
    const seen = /^[\x20-\x7e]+$/.test(text) ? carried(text) : [];
    return seen.length === 1 && seen[0] === text;
  });
  const answer = answers(tests, budget);
  const cells = distinct(texts, answer);
  const lost = found.texts.filter(
    (text) => text === text.trim() && text !== "" && !cells.some((cell) => answer(cell) === answer(text)),
  );
  if (lost.length > 0) reading.gaps.push(`no ${name} is "${lost[0]}"`);
  if (cells.length <= mostSubsets) {
    return Array.from({ length: 1 << cells.length }, (_, set) => cells.filter((_cell, i) => (set >> i) & 1));
  }
  if (tests.length > 1) reading.gaps.push(`not every combination of several ${name} values is tried`);
  return [[], ...cells.map((text) => [text]), cells];
}

/** The message as a policy would see it. */
const parsed = (
  fields: ReadonlyArray<readonly [string, string]>,
  attachments: ReadonlyArray<{ name: string; type: string }>,
) => parseMessage(Buffer.from((messageText(fields, attachments, 0) ?? "").replaceAll("\n", "\r\n")), budgetDefaults);

function fieldDimension(name: string, tests: readonly TextTest[], reading: Reading, budget: Budget): Dimension {
  const field = name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase());
  const carried = (text: string): readonly string[] => parsed([[field, text]], []).headers.values(name);
  const values = lists(field, tests, reading, budget, carried).map((texts): Value => {
    const label = texts.length === 0 ? `there is no ${field} field` : `${field} is "${texts.join('" and "')}"`;
    return { label, apply: ({ fields }) => void fields.push(...texts.map((text) => [field, text] as const)) };
  });
  return { name: field, values, asked: arrived };
}

function partDimension(source: string, tests: readonly TextTest[], reading: Reading, budget: Budget): Dimension {
  if (source === "mimeTypes") reading.gaps.push("types of parts that are no attachments are not tried");
  const named = source === "attachmentNames";
  const attachment = (text: string) =>
    named ? { name: text, type: "application/octet-stream" } : { name: "zq7.bin", type: text };
  const carried = (text: string): readonly string[] =>
    parsed([], [attachment(text)])
      .parts()
      .filter(({ filename }) => filename !== "")
      .map(({ filename, mediaType }) => (named ? filename : mediaType));
  const values = lists(source, tests, reading, budget, carried).map((texts): Value => {
    const label = texts.length === 0 ? "there is no attachment" : `an attachment is "${texts.join('" and "')}"`;
    return { label, apply: ({ attachments }) => void attachments.push(...texts.map(attachment)) };
  });
  return { name: source, values, asked: arrived };
}

function sizeDimension(tests: readonly TextTest[], reading: Reading): Dimension {
  const sizes = tests.flatMap(({ key }) => [Number(key) - 1, Number(key), Number(key) + 1]);
  const wanted = [...new Set(sizes)].filter((size) => size > 0);
  if (wanted.some((size) => size > largestMessage))
    reading.gaps.push(`messages over ${largestMessage} octets are not made`);
  const sized = wanted.map(
    (size): Value => ({
      label: `the message has ${size} octets`,
      apply(draft) {
        draft.session.size = size;
        if (size <= largestMessage) draft.size = size;
      },
    }),
  );
  return { name: "size", values: [{ label: "no size is announced", apply: () => undefined }, ...sized] };
}

const boundary = "=_zq7";

/** The message as text, with what the dimensions asked for; undefined when nothing did. */
export function messageText(
  fields: ReadonlyArray<readonly [string, string]>,
  attachments: ReadonlyArray<{ name: string; type: string }>,
  size: number,
): string | undefined {
  if (fields.length === 0 && attachments.length === 0 && size === 0) return undefined;
  const lines = fields.map(([name, value]) => `${name}: ${value}`);
  if (!fields.some(([name]) => name === "From")) lines.unshift("From: <sender@client.example>");
  if (attachments.length === 0) lines.push("", "test");
  else {
    lines.push("MIME-Version: 1.0", `Content-Type: multipart/mixed; boundary="${boundary}"`, "");
    lines.push(`--${boundary}`, "Content-Type: text/plain", "", "test");
    for (const { name, type } of attachments) {
      const quoted = name.replace(/["\\]/g, "\\$&");
      lines.push(
        `--${boundary}`,
        `Content-Type: ${type}`,
        `Content-Disposition: attachment; filename="${quoted}"`,
        "",
        "x",
      );
    }
    lines.push(`--${boundary}--`);
  }
  const text = `${lines.join("\n")}\n`;
  const octets = text.length + lines.length;
  return size > octets + 2 ? `${text}${"x".repeat(size - octets - 2)}\n` : text;
}
