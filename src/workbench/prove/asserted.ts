/** The author's own theorems: assertions of a script, as questions to it. */
import type { Test } from "../../language/ir.ts";
import { tester } from "../../language/match.ts";
import { walkTests } from "../../language/walk.ts";
import { domainOf } from "../../message/envelope.ts";
import type { AssertedOutcome, Assertion } from "../../policy/assertion.ts";
import { fixedSlots } from "../../policy/slots.ts";
import { variables } from "../../policy/variables.ts";
import type { Played } from "../play/played.ts";
import type { PlaySession } from "../play/session.ts";
import { inputOf } from "./dimensions.ts";
import {
  acceptance,
  accepted,
  delivered,
  type Finding,
  type Question,
  readingOf,
  refute,
  termsOf,
  written,
} from "./theorem.ts";

const happened: Readonly<Record<AssertedOutcome, (session: PlaySession, played: Played) => boolean>> = {
  accept: (_session, played) => accepted(played),
  deliver: (_session, played) => delivered(played),
  refuse: (_session, played) => played.replies.some(({ code }) => code >= 400),
  relay: ({ rcptTo }, played) => played.routes.some(({ domain }) => rcptTo.some((rcpt) => domainOf(rcpt) === domain)),
  quarantine: (_session, played) =>
    played.events.some(({ effects }) => effects.some(({ kind }) => kind === "quarantine")),
  report: (_session, played) => accepted(played) && played.reports.length > 0,
};

/** Words for the theorem in reports. */
export const assertionId = (assertion: Assertion): string => `assert ${assertion.text}`;

export async function proveAssertion(question: Question, assertion: Assertion): Promise<Finding> {
  const { never, outcome, when, span } = assertion;
  const { budget } = question.subject;
  const names = new Set<string>();
  const tests: Array<Extract<Test, { op: "match" }>> = [];
  walkTests(when, (leaf) => {
    if (leaf.op !== "match") return;
    tests.push(leaf);
    names.add(variableOf(leaf));
  });
  const reports = outcome === "report";
  const slots = [...acceptance, ...names, ...(reports ? ["sendNdr"] : [])];
  const effects = new Set(outcome === "quarantine" || outcome === "deliver" ? ["quarantine", "hold"] : []);
  const reading = readingOf(question, { slots, effects });
  for (const test of tests) {
    const [key] = test.keys;
    const known = reading.tests.get(variableOf(test)) ?? [];
    if (key?.op === "const")
      reading.tests.set(variableOf(test), [...known, { how: test.how, fold: test.fold, key: key.text }]);
  }
  const finding = await refute(
    assertionId(assertion),
    question,
    reading,
    termsOf(question, { rights: true, reports }),
    (session, played) => {
      const value = (name: string): string =>
        written(played, name) ?? (inputOf(session, name) || variables.find((row) => row.name === name)?.default) ?? "";
      const holds = (test: Test): boolean => {
        if (test.op === "match") {
          const keys = test.keys.flatMap((key) => (key.op === "const" ? [key.text] : []));
          return tester(test.how, test.fold, keys, budget)(value(variableOf(test)));
        }
        if (test.op === "ask") return session.trusted;
        if (test.op === "not") return !holds(test.test);
        if (test.op === "any") return test.tests.some(holds);
        return test.op === "all" ? test.tests.every(holds) : test.op === "const" && test.value;
      };
      if (!holds(when) || happened[outcome](session, played) !== never) return undefined;
      return never ? `${outcome} happens` : `${outcome} does not happen`;
    },
  );
  return { ...finding, line: span.start.line };
}

/** Assertions are made of variables alone. */
function variableOf(test: Extract<Test, { op: "match" }>): string {
  const { subject } = test;
  return subject.op === "one" && subject.value.op === "slot" ? fixedSlots[subject.value.slot]! : "";
}
