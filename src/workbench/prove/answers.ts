/**
 * Classes of what the network answers: for each check the values that a policy tells apart, and no answer at all; for
 * rates under or over the limit; for lists in or not.
 */
import type { Budget } from "../../config/budget.ts";
import { answers, witnessesOf } from "../../language/prove/witness.ts";
import { findMethod } from "../../policy/names.ts";
import { variables } from "../../policy/variables.ts";
import type { PlaySession } from "../play/session.ts";
import type { Dimension, Value } from "./cases.ts";
import type { Reading } from "./reading.ts";

/** Several calls of one check are answered in every combination up to so many. */
const mostSequences = 256;

type Answer = Record<string, string> | "error";

/** What a check says of good mail: the base of every case. */
const good: Readonly<Record<string, string>> = {
  SPFResult: "pass",
  ReverseDNSResult: "pass",
  ReverseDNSName: "host.client.example",
  SenderMXCheckResult: "pass",
  GreylistResult: "pass",
  DKIMResult: "pass",
  DMARCResult: "pass",
  DMARCPolicy: "none",
  ARCResult: "pass",
  BIMIResult: "pass",
};

/** `allFail`: no check answers. `unlisted`: variables whose values are in no list. */
export function answerDimensions(
  reading: Reading,
  budget: Budget,
  { allFail, unlisted }: { allFail: boolean; unlisted: ReadonlySet<string> },
): Dimension[] {
  const out: Dimension[] = [];
  for (const [name, calls] of reading.lookups) {
    if (name === "rate") out.push(sequences("rate", [{ over: "no" }, { over: "yes" }], calls, reading));
    else {
      const values: Answer[] = allFail && name !== "checkGeoIP" ? ["error"] : checkAnswers(name, reading, budget);
      out.push(sequences(name, values, calls, reading));
    }
  }
  for (const [list, members] of reading.lists) {
    const empty: Value = { label: `there is ${list}`, apply: (draft) => void draft.members.set(list, new Map()) };
    out.push({ name: list, values: [empty] });
    for (const variable of members) out.push(listDimension(list, variable, unlisted.has(variable)));
  }
  return out;
}

function checkAnswers(name: string, reading: Reading, budget: Budget): Answer[] {
  if (name === "checkGeoIP") return countryAnswers(reading, budget);
  const method = findMethod(name)!;
  let combined: Array<Record<string, string>> = [{}];
  for (const output of method.writes) {
    const texts = outputTexts(output, reading, budget);
    combined = combined.flatMap((known) => texts.map((text) => ({ ...known, [output]: text })));
  }
  const keyOf = (answer: Record<string, string>): string =>
    method.writes.map((output) => answers(reading.tests.get(output) ?? [], budget)(answer[output] ?? "")).join(" ");
  const kept = new Map<string, Answer>();
  for (const answer of combined) {
    const key = keyOf(answer);
    if (!kept.has(key)) kept.set(key, answer);
  }
  // A failed check writes its failure values; that it failed shows only where an onError acts on it.
  const failedKey = keyOf({ ...method.failure });
  if (reading.tests.has("(failed)") || !kept.has(failedKey)) kept.set("(failed)", "error");
  return [...kept.values()];
}

function outputTexts(output: string, reading: Reading, budget: Budget): string[] {
  const tests = reading.tests.get(output) ?? [];
  const base = good[output] ?? "";
  const row = variables.find(({ name }) => name === output)!;
  if (row.type.kind === "choice") return [...new Set([base, ...row.type.values, ""])];
  const found = witnessesOf(tests, base, budget);
  if (!found.exact) reading.gaps.push(found.gap);
  const texts = row.type.kind === "ip" ? [...found.texts, "127.0.0.2"] : found.texts;
  return [...new Set([...texts, ""])];
}

function countryAnswers(reading: Reading, budget: Budget): Answer[] {
  const tests = reading.tests.get("GeoIPResult") ?? [];
  const named = [...reading.countries, ...witnessesOf(tests, "", budget).texts];
  const codes = new Set([
    "",
    "ZZ",
    ...named.map((word) => word.toUpperCase()).filter((word) => /^[A-Z]{2}$/.test(word)),
  ]);
  return [...codes].map((GeoIPResult) => ({ GeoIPResult }));
}

/** One call: an answer each. Several: a list of answers in the order of the calls. */
function sequences(name: string, values: readonly Answer[], calls: number, reading: Reading): Dimension {
  let lists: Answer[][] = values.map((value) => [value]);
  for (let call = 1; call < calls; call++) {
    if (lists.length * values.length > mostSequences) {
      reading.gaps.push(`${name} is called ${calls} times: not every combination of answers is tried`);
      break;
    }
    lists = lists.flatMap((list) => values.map((value) => [...list, value]));
  }
  return {
    name,
    values: lists.map((list) => answerValue(name, list)),
    asked: ({ events }) => events.some(({ lookups }) => lookups.includes(name)),
  };
}

function answerValue(name: string, list: readonly Answer[]): Value {
  const words = list.map((answer) => describe(name, answer));
  return {
    label: [...new Set(words)].length === 1 ? words[0]! : words.join(", then "),
    apply({ session }) {
      session.facts[name] = (list.length === 1 ? list[0]! : [...list]) as PlaySession["facts"][string];
    },
  };
}

function describe(name: string, answer: Answer): string {
  if (answer === "error") return `${name} gets no answer`;
  if (name === "rate") return answer.over === "yes" ? "the rate is over its limit" : "the rate is under its limit";
  const words = Object.entries(answer).map(([variable, text]) => `${variable} is "${text}"`);
  return words.join(" and ");
}

function listDimension(list: string, variable: string, never: boolean): Dimension {
  const value = (member: boolean): Value => ({
    label: `${variable} is ${member ? "" : "not "}in ${list}`,
    apply({ members }) {
      const known = members.get(list) ?? new Map<string, boolean>();
      members.set(list, known.set(variable, member));
    },
  });
  return { name: `${list} ${variable}`, values: never ? [value(false)] : [value(false), value(true)] };
}
