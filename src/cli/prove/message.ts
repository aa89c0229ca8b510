/** Classes of messages: header fields, attachments and sizes that a policy tells apart. */
import type { Budget } from "../../config/budget.ts";
import { answers, type TextTest, witnessesOf } from "../../language/prove/witness.ts";
import type { Played } from "../play/play.ts";
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

/** The values of a list of strings that tests tell apart: none, one, or several at once. */
function lists(name: string, tests: readonly TextTest[], reading: Reading, budget: Budget): string[][] {
  const found = witnessesOf(tests, "zq7", budget);
  if (!found.exact) reading.gaps.push(found.gap);
  const texts = found.texts.filter(
    (text) => text !== "" && !/[\x00-\x1f\x7f-\uffff]/.test(text) && text === text.trim(),
  );
  const cells = distinct(texts, answers(tests, budget));
  if (cells.length <= mostSubsets) {
    const subsets = Array.from({ length: 1 << cells.length }, (_, set) => cells.filter((_cell, i) => (set >> i) & 1));
    return subsets;
  }
  if (tests.length > 1) reading.gaps.push(`not every combination of several ${name} values is tried`);
  return [[], ...cells.map((text) => [text]), cells];
}

function fieldDimension(name: string, tests: readonly TextTest[], reading: Reading, budget: Budget): Dimension {
  const field = name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase());
  const values = lists(field, tests, reading, budget).map((texts): Value => {
    const label = texts.length === 0 ? `there is no ${field} field` : `${field} is "${texts.join('" and "')}"`;
    return { label, apply: ({ fields }) => void fields.push(...texts.map((text) => [field, text] as const)) };
  });
  return { name: field, values, asked: arrived };
}

function partDimension(source: string, tests: readonly TextTest[], reading: Reading, budget: Budget): Dimension {
  if (source === "mimeTypes") reading.gaps.push("types of parts that are no attachments are not tried");
  const values = lists(source, tests, reading, budget).map((texts): Value => {
    const label = texts.length === 0 ? "there is no attachment" : `an attachment is "${texts.join('" and "')}"`;
    return {
      label,
      apply({ attachments }) {
        for (const text of texts) {
          attachments.push(
            source === "attachmentNames"
              ? { name: text, type: "application/octet-stream" }
              : { name: "zq7.bin", type: text },
          );
        }
      },
    };
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
