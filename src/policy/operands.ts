/**
 * What the compiler can say about constant operands: values for engine variables, patterns, ranges, numbers, reply texts.
 * The same rules hold at run time for values that are known only then (`acceptValue`).
 */
import type { Text } from "../../grammar/smtpfilters/ast.ts";
import { constantText } from "../../grammar/smtpfilters/text.ts";
import { type Budget, BudgetExceeded } from "../config/budget.ts";
import { parseIpSet } from "../language/ipset.ts";
import { nearest } from "../language/nearest.ts";
import { compileRegex, RegexError } from "../language/regex.ts";
import type { KnownVariable } from "./names.ts";
import type { Reporter } from "./reporter.ts";
import type { ValueType, VariableRow } from "./variables.ts";
import type { ComparatorRow } from "./vocabulary.ts";

/** The value in its canonical form, or undefined when the engine ignores the assignment (smtpfilters.md §4). */
export function acceptValue(type: ValueType, value: string): string | undefined {
  if (type.kind === "numeric") {
    const digits = value.trim();
    if (!/^[+-]?\d{1,15}$/.test(digits)) return undefined;
    const number = Number(digits);
    return number >= type.min && number <= type.max ? String(number) : undefined;
  }
  if (type.kind === "choice") {
    const word = value.trim().toLowerCase();
    if (word === "") return "";
    const found = type.aliases?.[word] ?? word;
    return type.values.find((choice) => choice.toLowerCase() === found.toLowerCase());
  }
  if (type.kind === "words" && type.values) {
    const words = value.toLowerCase().split(/\s+/).filter(Boolean);
    return words.every((word) => type.values!.includes(word)) ? words.join(" ") : undefined;
  }
  return value;
}

/** A constant to assign, in canonical form; "ignored" after a warning; undefined when the value is not constant. */
export function constantFor(
  row: VariableRow,
  value: Text,
  reporter: Reporter,
): { text: string } | "ignored" | undefined {
  const constant = constantText(value);
  if (constant === undefined) return undefined;
  const accepted = acceptValue(row.type, constant);
  if (accepted !== undefined) return { text: accepted };
  if (row.type.kind === "numeric") {
    const unit = row.type.unit ? ` ${row.type.unit}` : "";
    reporter.report("P030", value, `${row.name} takes a number from ${row.type.min} to ${row.type.max}${unit}`);
  } else if (row.type.kind === "choice" || row.type.kind === "words") {
    const choices = row.type.values ?? [];
    const near = nearest(constant.trim(), choices);
    const hint = near ? `did you mean "${near}"?` : undefined;
    reporter.report("P031", value, `${row.name} takes ${choices.join(", ")}`, hint);
  }
  return "ignored";
}

export function checkPattern(
  comparator: ComparatorRow,
  operand: Text,
  known: KnownVariable | undefined,
  budget: Pick<Budget, "regexBytes">,
  reporter: Reporter,
): void {
  const constant = constantText(operand);
  switch (comparator.how) {
    case "regex":
      if (constant === undefined) {
        reporter.report("P037", operand, "the value of a variable becomes part of the pattern");
      } else checkRegex(comparator, constant, operand, budget, reporter);
      break;
    case "cidr":
      if (constant !== undefined && !parseIpSet(constant)) {
        reporter.report("P034", operand, "not an address, range or network", 'write for example "192.0.2.0/24"');
      }
      break;
    case "gt":
    case "lt":
      if (constant !== undefined && !/^\s*[+-]?\d+\s*$/.test(constant)) {
        reporter.report("P035", operand, `${comparator.name} compares numbers: this is never true`);
      }
      break;
    case "is":
      if (constant !== undefined && known?.row.type.kind === "choice")
        checkChoice(comparator, constant, operand, known, reporter);
      break;
  }
}

function checkRegex(
  comparator: ComparatorRow,
  pattern: string,
  operand: Text,
  budget: Pick<Budget, "regexBytes">,
  reporter: Reporter,
): void {
  try {
    compileRegex(pattern, comparator.fold, budget);
  } catch (error) {
    if (error instanceof RegexError) reporter.report("P033", operand, error.message, error.hint);
    else if (error instanceof BudgetExceeded) reporter.report("P033", operand, error.message);
    else throw error;
  }
}

function checkChoice(
  comparator: ComparatorRow,
  constant: string,
  operand: Text,
  { row }: KnownVariable,
  reporter: Reporter,
): void {
  if (row.type.kind !== "choice" || constant === "") return;
  const { values } = row.type;
  const same = comparator.fold === "octet" ? constant : constant.toLowerCase();
  if (values.includes(same)) return;
  const near = nearest(constant, values);
  const hint = near ? `did you mean "${near}"?` : `it is one of ${values.join(", ")}`;
  reporter.report("P031", operand, `${row.name} is never "${constant.slice(0, 60)}"`, hint);
}

/** RFC 5321 §4.5.3.1.5: a reply line has at most 512 octets, code and line end included. */
const replyTextOctets = 500;

export function checkReplyText(text: Text, reporter: Reporter): void {
  const fixed = text.parts.map((part) => ("name" in part ? "" : part.text)).join("");
  if (/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(fixed)) {
    reporter.report("P032", text, "control characters can't be sent in a reply");
  } else if (/[^\x00-\x7f]/.test(fixed)) {
    reporter.report("P032", text, "only ASCII can be sent in a reply", "other characters are replaced by ?");
  } else if (fixed.split(/\r\n?|\n/).some((line) => line.length > replyTextOctets)) {
    reporter.report("P032", text, `a line of a reply has at most ${replyTextOctets} characters`);
  }
  if (/^[0-9]{3} /.test(fixed) && !/^[245]\d\d /.test(fixed)) {
    reporter.report("P038", text, `${fixed.slice(0, 3)} is no reply code of an action`);
  }
}
