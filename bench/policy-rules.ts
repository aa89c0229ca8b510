/**
 * Rule sets for bench/policy.ts: equal shares of equality, domain, CIDR, contains and regex rules as IR, and messages
 * that none or only the last of them matches. Deterministic.
 */
import type { Host } from "../src/language/host.ts";
import type { Block, Module, Subject, Test } from "../src/language/ir.ts";
import { noSpan as span } from "../src/language/span.ts";

/** Slots of the generated module. */
export const slots = { mailFrom: 0, mailFromDomain: 1, remoteIp: 2, action: 3, explanation: 4 } as const;

const slot = (index: number): Subject => ({ op: "one", value: { op: "slot", slot: index } });
const subjectHeader: Subject = {
  op: "host",
  source: "header",
  data: { name: "Subject" },
  args: [],
  stable: true,
  invalidatedBy: ["addHeader", "changeHeader", "removeHeader"],
};

function match(subject: Subject, how: Extract<Test, { op: "match" }>["how"], text: string): Test {
  return { op: "match", subject, how, fold: "ascii", keys: [{ op: "const", text }], span };
}

/** The test of rule i; its kind goes round through the five. */
function ruleTest(i: number): Test {
  switch (i % 5) {
    case 0:
      return match(slot(slots.mailFrom), "is", `user${i}@sender${i}.example`);
    case 1:
      return match(slot(slots.mailFromDomain), "domain", `bad${i}.example`);
    case 2:
      return match(slot(slots.remoteIp), "cidr", `10.${(i >> 14) & 255}.${(i >> 6) & 255}.${(i << 2) & 255}/30`);
    case 3:
      return match(subjectHeader, "contains", `special offer ${i} only`);
    default:
      return match(subjectHeader, "regex", `^(re: )?invoice[- ]no${i}: .*(due|unpaid)`);
  }
}

/** A policy of `count` rules that each set the action and the explanation. */
export function ruleModule(count: number): Module {
  const block: Block = [];
  for (let i = 0; i < count; i++) {
    const text = `rule ${i}`;
    block.push({
      op: "if",
      test: ruleTest(i),
      then: [
        { op: "set", slot: slots.action, value: { op: "const", text: "reject" }, span },
        { op: "set", slot: slots.explanation, value: { op: "const", text }, span },
      ],
      else: [],
      span,
      rule: text,
    });
  }
  return {
    language: "smtpfilters",
    file: "bench",
    slots: Object.keys(slots).map((name) => ({ name, kind: "engine" as const })),
    entries: { onHeadersReceived: block },
    routines: [],
  };
}

/** The same rules as a script, one method each. */
export function ruleScript(count: number): string {
  const methods: string[] = [];
  const calls: string[] = [];
  for (let i = 0; i < count; i++) {
    const tests = [
      `isCase (mailFrom, "user${i}@sender${i}.example")`,
      `isCase (mailFromDomain, "bad${i}.example")`,
      `ipRange (remoteSmtpIp, "10.${(i >> 14) & 255}.${(i >> 6) & 255}.${(i << 2) & 255}/30")`,
      `containsCase (header ("Subject"), "special offer ${i} only")`,
      `matchCase (header ("Subject"), "^(re: )?invoice[- ]no${i}: .*(due|unpaid)")`,
    ];
    methods.push(
      `method rule${i} {\n  if (${tests[i % 5]}) {\n    set (smtpAction, "reject");\n    set (smtpExplanation, "rule ${i}");\n  }\n}\n`,
    );
    calls.push(`  call (rule${i});\n`);
  }
  return `${methods.join("")}event onHeadersReceived {\n${calls.join("")}}\n`;
}

/** What one message says. */
export interface Facts {
  readonly slots: readonly string[];
  readonly subject: string;
}

/** A message that no rule matches; `last`: that only rule `count - 1` matches. */
export function facts(count: number, which: "none" | "last"): Facts {
  const last = which === "last" ? count - 1 : -1;
  const kind = last < 0 ? -1 : last % 5;
  const domain = kind === 1 ? `mail.bad${last}.example` : kind === 0 ? `sender${last}.example` : "good.example";
  const ip = kind === 2 ? `10.${(last >> 14) & 255}.${(last >> 6) & 255}.${(last << 2) & 255}` : "192.0.2.7";
  const subject =
    kind === 3
      ? `Our Special Offer ${last} only today`
      : kind === 4
        ? `Re: Invoice no${last}: payment due`
        : "Minutes of the meeting about the quarterly numbers and what to do next";
  return { slots: [`user${kind === 0 ? last : "x"}@${domain}`, domain, ip, "accept", ""], subject };
}

export function hostOf(subject: string): Host {
  const subjects = [subject];
  const nothing = (): void => {};
  return {
    source: () => subjects,
    value: () => "",
    ask: () => false,
    inList: () => false,
    effect: nothing,
    lookup: () => undefined,
    exported: nothing,
    captured: nothing,
    eachBegin: nothing,
    eachNext: () => false,
    eachEnd: nothing,
  };
}
