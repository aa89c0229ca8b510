/** Words for the vocabulary of smtpFilters, for hovers and completions (Markdown). Pure. */
import { eventContext, eventDocs, eventNames } from "../../../policy/events.ts";
import type { EventName } from "../../../policy/types.ts";
import type { ValueType, VariableRow } from "../../../policy/variables.ts";
import type { ActionRow, ComparatorRow, MethodRow } from "../../../policy/vocabulary.ts";

const accessWords = { ro: "can be read", rw: "can be read and set", wo: "can be set" } as const;
const contextWords = { smtpIn: "incoming", smtpOut: "outgoing", smtpProc: "processing" } as const;

export function typeWords(type: ValueType): string {
  switch (type.kind) {
    case "numeric":
      return `number ${type.min}–${type.max}${type.unit ? ` ${type.unit}` : ""}`;
    case "choice":
      return type.values.join(" | ");
    case "words":
      return type.values ? `words of ${type.values.join(", ")}` : "words";
    case "values":
      return "several texts";
    default:
      return type.kind;
  }
}

/** `events`: where the cursor's block runs. */
export function variableWords(row: VariableRow, name: string, events: readonly EventName[]): string {
  const here = events.map((event) => {
    const access = row.access[event];
    return access ? `${accessWords[access]} in ${event}` : `not known in ${event}`;
  });
  const known = eventNames.filter((event) => row.access[event]);
  return paragraphs(
    `**${name}**: ${typeWords(row.type)}`,
    row.doc,
    here.length > 0 && `Here: ${here.join("; ")}.`,
    row.default !== "" && `Default: \`${row.default}\`.`,
    row.producer !== undefined && `Filled by \`call (${row.producer});\`.`,
    `Known in ${known.join(", ")}.`,
  );
}

export function methodWords(row: MethodRow): string {
  const failure = Object.entries(row.failure).map(([name, value]) => `\`${name}\` is "${value}"`);
  return paragraphs(
    `**call (${row.name})**`,
    row.doc,
    row.reads.length > 0 && `Reads ${row.reads.map((name) => `\`${name}\``).join(", ")}.`,
    row.writes.length > 0 && `Fills ${row.writes.map((name) => `\`${name}\``).join(", ")}.`,
    failure.length > 0 && `When it fails: ${failure.join(", ")} (onError ${row.onError}).`,
    `Works in ${row.events.join(", ")}.`,
  );
}

export const eventWords = (event: EventName): string =>
  paragraphs(`**event ${event}** (${contextWords[eventContext[event]]})`, eventDocs[event]);

export const comparatorWords = (row: ComparatorRow): string =>
  paragraphs(`**${row.name} (variable, "text")**`, row.doc);

export const actionWords = (row: ActionRow): string =>
  paragraphs(`**${row.name} ("${row.argument}");**`, row.doc, `Works in ${row.events.join(", ")}.`);

export const paragraphs = (...parts: Array<string | false>): string => parts.filter(Boolean).join("\n\n");
