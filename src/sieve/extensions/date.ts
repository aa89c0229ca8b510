/** RFC 5260 §4, §5: tests of dates in headers and of the current date. */
import { formatDate, type MailDate, parseDate } from "../../message/date.ts";
import type { Checker } from "../check.ts";
import { codes } from "../codes.ts";
import { headerEffects } from "../lower.ts";
import type { Call, Extension, TagSpec } from "../registry.ts";
import { fieldData, headerFields } from "./subjects.ts";

/** An instant in a zone: `offset` minutes east of UTC. */
interface Moment {
  epoch: number;
  offset: number;
}

const two = (n: number) => String(n).padStart(2, "0");

/** §4.2; formats are fixed so that octet order is time order. */
const parts: Record<string, (local: Date, moment: Moment) => string> = {
  year: (d) => String(d.getUTCFullYear()).padStart(4, "0"),
  month: (d) => two(d.getUTCMonth() + 1),
  day: (d) => two(d.getUTCDate()),
  date: (d) => d.toISOString().slice(0, 10),
  // Modified Julian Day: days since 17 November 1858.
  julian: (d) => String(Math.floor(d.getTime() / 86_400_000) + 40_587),
  hour: (d) => two(d.getUTCHours()),
  minute: (d) => two(d.getUTCMinutes()),
  second: (d) => two(d.getUTCSeconds()),
  time: (d) => d.toISOString().slice(11, 19),
  iso8601: (d, m) => `${d.toISOString().slice(0, 19)}${zoneText(m.offset, ":")}`,
  std11: (d, m) =>
    formatDate(d.getTime())
      .replace("+0000", zoneText(m.offset, ""))
      .replace(/, (\d) /, ", 0$1 "),
  zone: (_d, m) => zoneText(m.offset, ""),
  weekday: (d) => String(d.getUTCDay()),
};

function zoneText(offset: number, colon: string): string {
  const minutes = Math.abs(offset);
  return `${offset < 0 ? "-" : "+"}${two(Math.floor(minutes / 60))}${colon}${two(minutes % 60)}`;
}

function zoneOffset(text: string): number | undefined {
  const match = /^([+-])(\d\d)(\d\d)$/.exec(text);
  if (match === null) return undefined;
  const minutes = Number(match[2]) * 60 + Number(match[3]);
  return match[1] === "-" ? -minutes : minutes;
}

function localOffset(epoch: number): number {
  return -new Date(epoch).getTimezoneOffset();
}

function partText(moment: Moment, part: string): string {
  const local = new Date(moment.epoch + moment.offset * 60_000);
  return parts[part]?.(local, moment) ?? "";
}

const zone: TagSpec = {
  name: "zone",
  group: ":zone or :originalzone",
  value: "string",
  check(use, _call, check) {
    const text = check.constant(use.value);
    if (text !== undefined && zoneOffset(text) === undefined) {
      check.warn(
        use.value!,
        codes.doubtful,
        `specified :zone argument '${text}' is not a valid timezone`,
        'write it like "+0100"',
      );
    }
  },
};

function checkPart(argument: number) {
  return (call: Call, check: Checker) => {
    const text = check.constant(call.arguments[argument])?.toLowerCase();
    if (text !== undefined && parts[text] === undefined) {
      check.warn(call.arguments[argument]!, codes.doubtful, `specified date part '${text}' is not known`);
    }
  };
}

/** Where the date stands in a field: after the last ";" of trace fields, else the whole value (§4). */
function dateOf(value: string): MailDate | undefined {
  const semicolon = value.lastIndexOf(";");
  return parseDate(semicolon < 0 ? value : value.slice(semicolon + 1));
}

export const date: Extension = {
  capability: "date",
  specification: "RFC 5260 §4, §5",
  doc: {
    summary: "Tests date and currentdate.",
    example: `if currentdate :value "ge" "hour" "18" { fileinto "evening"; }`,
  },
  tests: [
    {
      kind: "test",
      name: "date",
      positional: [
        { name: "header name", type: "string" },
        { name: "date-part", type: "string" },
        { name: "key list", type: "list" },
      ],
      tags: [zone, { name: "originalzone", group: ":zone or :originalzone" }],
      match: true,
      check: checkPart(1),
      lower(call, to) {
        const args = [
          to.value(call.arguments[0]),
          to.value(call.arguments[1]),
          ...to.values(call.tags.get("zone")?.value),
        ];
        const data = { ...fieldData(call), original: call.tags.has("originalzone") };
        return to.match(call, to.subject("date", data, headerEffects, args), call.arguments[2]);
      },
    },
    {
      kind: "test",
      name: "currentdate",
      positional: [
        { name: "date-part", type: "string" },
        { name: "key list", type: "list" },
      ],
      tags: [zone],
      match: true,
      check: checkPart(0),
      lower(call, to) {
        const args = [to.value(call.arguments[0]), ...to.values(call.tags.get("zone")?.value)];
        return to.match(call, to.subject("currentDate", {}, [], args), call.arguments[1]);
      },
    },
  ],
  evaluation: {
    sources: {
      date: (host, data, [name = "", part = "", zoneName]) => {
        const index = data.index === undefined ? { index: 1 } : {};
        const [field] = headerFields(host, { ...data, ...index, names: [name.toLowerCase()] }, []);
        const found = field && dateOf(field.value);
        if (!found) return [];
        const asked = zoneName === undefined ? undefined : zoneOffset(zoneName);
        const offset = data.original === true ? found.offset : (asked ?? localOffset(found.epoch));
        return [partText({ epoch: found.epoch, offset }, part.toLowerCase())];
      },
      currentDate: (host, _data, [part = "", zoneName]) => {
        const epoch = host.now.getTime();
        const asked = zoneName === undefined ? undefined : zoneOffset(zoneName);
        return [partText({ epoch, offset: asked ?? localOffset(epoch) }, part.toLowerCase())];
      },
    },
  },
};
