/** For tests: compiles a script that must be free of errors, and makes sessions with given facts. */
import assert from "node:assert/strict";
import { type Budget, budgetDefaults } from "../../../src/config/budget.ts";
import { formatDiagnostic } from "../../../src/language/diagnostic.ts";
import { compilePolicy, type Policy } from "../../../src/policy/compile.ts";
import type { FactSource, PolicySession } from "../../../src/policy/types.ts";

export function compiled(source: string, budget: Budget = budgetDefaults): Policy {
  const result = compilePolicy(source, { file: "t.script", budget });
  if (!result.ok) assert.fail(result.diagnostics.map((d) => formatDiagnostic(d, source)).join(""));
  return result.program;
}

export const noFacts: FactSource = {
  call: (name) => {
    throw new Error(`unexpected ${name}`);
  },
};

export function incoming(
  source: string,
  facts: Partial<FactSource> = {},
  inputs: Record<string, string> = {},
): PolicySession {
  const session = compiled(source).session("smtpIn", { ...noFacts, ...facts });
  for (const [name, value] of Object.entries(inputs)) session.input(name, value);
  return session;
}
