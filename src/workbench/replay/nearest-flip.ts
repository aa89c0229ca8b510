/**
 * The smallest change of one fact that flips a decision: tries, one at a time, other answers of the checks, other words
 * of the client, other header fields, and decides the record again with each.
 * A changed word of the client leaves the answers of checks as they were: one fact changes, not what follows from it.
 * Values to try are those that the policy itself compares with, those of the vocabulary, and one that nothing knows.
 * Invariants: bounded by `maxTries`; the record is not changed. Failure: none; nothing found is an empty list. Values
 * that only a regular expression or a pattern would match are not made up, so "none" is no proof.
 */
import type { Subject, Test } from "../../language/ir.ts";
import { blocksOf, walkStatements, walkTests } from "../../language/walk.ts";
import { domainOf } from "../../message/envelope.ts";
import type { Policy } from "../../policy/compile.ts";
import { findMethod } from "../../policy/names.ts";
import { variables } from "../../policy/variables.ts";
import type { Decision, DecisionRecord, Fact, Step } from "../record/types.ts";
import { type DecideOptions, decide } from "./decide.ts";
import { headersOf } from "./headers.ts";

const maxTries = 5_000;

export interface FlipCause {
  /** What was changed: "checkSPF SPFResult", "mailFrom", "header subject". */
  fact: string;
  from: string;
  to: string;
  decision: Decision;
}

interface Change {
  fact: string;
  from: string;
  to: string;
  record: DecisionRecord;
}

/** The first change of each fact that gives another verdict; answers of checks first, then the client, then headers. */
export async function nearestFlips(
  policy: Policy,
  record: DecisionRecord,
  options: DecideOptions = {},
): Promise<FlipCause[]> {
  const { decision: before, missing: unknown } = await decide(policy, record, options);
  const answered = new Set(record.facts.map(([name]) => name).filter((name) => !unknown.has(name)));
  const compared = comparedValues(policy);
  const flips: FlipCause[] = [];
  const done = new Set<string>();
  let tries = 0;
  for (const change of changesOf(record, compared)) {
    if (done.has(change.fact)) continue;
    if (++tries > maxTries) break;
    const { decision, missing } = await decide(policy, change.record, options);
    // A check that was answered then and isn't now would be a second change.
    if ([...missing].some((name) => answered.has(name))) continue;
    const same = (["verdict", "recipients", "effect"] as const).every((part) => decision[part] === before[part]);
    if (same) continue;
    done.add(change.fact);
    flips.push({ fact: change.fact, from: change.from, to: change.to, decision });
  }
  return flips;
}

/** By variable in lower case, or "header subject": the constants that rules compare it with. */
function comparedValues(policy: Policy): Map<string, Set<string>> {
  const values = new Map<string, Set<string>>();
  const { module } = policy;
  const subjectName = (subject: Subject): string | undefined => {
    if (subject.op === "host" && subject.source === "header")
      return `header ${String(subject.data.name).toLowerCase()}`;
    if (subject.op !== "one" || subject.value.op !== "slot") return undefined;
    return module.slots[subject.value.slot]?.name.toLowerCase();
  };
  const note = (leaf: Test): void => {
    if (leaf.op !== "match") return;
    const name = subjectName(leaf.subject);
    if (name === undefined) return;
    const known = values.get(name) ?? new Set();
    values.set(name, known);
    for (const key of leaf.keys) {
      if (key.op !== "const") continue;
      for (const value of satisfying(leaf.how, key.text)) known.add(value);
    }
  };
  walkStatements(blocksOf(module), (s) => {
    if (s.op === "if") walkTests(s.test, note);
  });
  return values;
}

/** Values on both sides of a comparison with `key`. */
function satisfying(how: string, key: string): string[] {
  if (how === "cidr") return [/^[0-9a-fA-F.:]+/.exec(key)?.[0] ?? ""].filter(Boolean);
  const number = Number(key);
  if (["gt", "ge", "lt", "le"].includes(how) && Number.isFinite(number))
    return [String(number + 1), String(number - 1)];
  return how === "regex" || how === "glob" ? [] : [key];
}

function* changesOf(record: DecisionRecord, compared: ReadonlyMap<string, Set<string>>): Generator<Change> {
  const at = (name: string): string[] => [...(compared.get(name.toLowerCase()) ?? [])];
  for (const [index, fact] of record.facts.entries()) yield* factChanges(record, index, fact, at);
  for (const [index, step] of record.steps.entries()) yield* inputChanges(record, index, step, at);
  for (const name of compared.keys()) if (name.startsWith("header ")) yield* headerChanges(record, name, at(name));
}

function* factChanges(
  record: DecisionRecord,
  index: number,
  [name, inputs, answer, ms]: Fact,
  compared: (name: string) => string[],
): Generator<Change> {
  const replaced = (now: Fact[2]): DecisionRecord => ({
    ...record,
    facts: record.facts.with(index, [name, inputs, now, ms]),
  });
  if (name === "rate" || name === "inList") {
    const yes = (answer as Record<string, string> | null)?.yes === "yes";
    const fact = `${name} ${inputs.join(" ")}`;
    yield { fact, from: yes ? "yes" : "no", to: yes ? "no" : "yes", record: replaced({ yes: yes ? "" : "yes" }) };
    return;
  }
  const outputs = findMethod(name)?.writes ?? [];
  const old = (answer ?? {}) as Record<string, string>;
  for (const output of outputs) {
    const from = answer === null ? "(failed)" : (old[output] ?? "");
    for (const to of new Set([...choicesOf(output), ...compared(output), ""])) {
      if (to !== from) yield { fact: `${name} ${output}`, from, to, record: replaced({ ...old, [output]: to }) };
    }
  }
  if (answer !== null && outputs.length > 0) {
    yield { fact: `${name} answered`, from: "yes", to: "no", record: replaced(null) };
  }
}

function choicesOf(variable: string): readonly string[] {
  const type = variables.find((row) => row.name === variable)?.type;
  return type?.kind === "choice" ? type.values : [];
}

function* inputChanges(
  record: DecisionRecord,
  index: number,
  step: Step,
  compared: (name: string) => string[],
): Generator<Change> {
  for (const [name, from] of Object.entries(step.in ?? {})) {
    const values = new Set([...choicesOf(name), ...compared(name)]);
    if (name === "mailFrom" || name === "rcptTo") {
      const at = from.lastIndexOf("@");
      const local = at < 0 ? from : from.slice(0, at);
      for (const domain of compared(`${name}Domain`)) values.add(`${local}@${domain}`);
      for (const user of compared(`${name}User`)) values.add(`${user}${at < 0 ? "" : from.slice(at)}`);
      values.add(`${local}@other.invalid`);
      values.add(`someone.else${at < 0 ? "" : from.slice(at)}`);
    }
    if (name === "remoteSmtpIp") values.add("192.0.2.1");
    if (name === "ehloHost" || name === "rcptToDomain") values.add("other.invalid");
    if (name === "ndrRcptFailInfo") values.add("other");
    for (const to of values) {
      if (to === from) continue;
      const changed: Step = { ...step, in: { ...step.in, [name]: to } };
      const facts = record.facts.map((fact) => askedWith(fact, from, to));
      yield { fact: name, from, to, record: { ...record, facts, steps: record.steps.with(index, changed) } };
    }
  }
  if (step.event === "onMailFrom" && step.in?.authUser === undefined) {
    const changed: Step = { ...step, in: { ...step.in, authUser: "user" } };
    yield { fact: "authUser", from: "", to: "user", record: { ...record, steps: record.steps.with(index, changed) } };
  }
}

/** The same answer to a question that has the other value, or its domain, in it. */
function askedWith([name, inputs, answer, ms]: Fact, from: string, to: string): Fact {
  if (name === "header" || name === "strings") return [name, inputs, answer, ms];
  const domain = domainOf(from);
  const others = inputs.map((input) =>
    input === from ? to : input === domain && domain !== "" ? domainOf(to) : input,
  );
  return [name, others, answer, ms];
}

function* headerChanges(record: DecisionRecord, name: string, values: readonly string[]): Generator<Change> {
  const field = name.slice("header ".length);
  const known = record.facts.find((fact) => fact[0] === "header" && fact[1][0] === field);
  // Every value at hand becomes a fact of its own, and the section is not asked.
  const { header: _section, ...rest } = record;
  const others = (record.header === undefined ? [] : fieldsOf(record.header)).filter((fact) => fact[1][0] !== field);
  const from = known
    ? String(known[2])
    : String(fieldsOf(record.header ?? "").find((f) => f[1][0] === field)?.[2] ?? "");
  for (const to of [...values, ""]) {
    if (to === from) continue;
    const facts = [...record.facts.filter((fact) => fact !== known), ...others];
    yield {
      fact: name,
      from,
      to,
      record: { ...rest, facts: [...facts, ["header", [field], to === "" ? [] : [to], 0]] },
    };
  }
}

function fieldsOf(section: string): Fact[] {
  const values = new Map<string, string[]>();
  for (const { lower, decoded } of headersOf(section)().fields) {
    const known = values.get(lower);
    if (known) known.push(decoded);
    else values.set(lower, [decoded]);
  }
  return [...values].map(([field, texts]) => ["header", [field], texts, 0]);
}
