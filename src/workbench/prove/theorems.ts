/** All theorems of `postern prove`, in the order of its report, and then the author's own. */
import type { Assertion } from "../../policy/assertion.ts";
import { assertionId, proveAssertion } from "./asserted.ts";
import { deadWrites, reachable } from "./coverage.ts";
import { backscatter, clearAuth, failures, openRelay, virus } from "./safety.ts";
import type { Finding, Question, Theorem } from "./theorem.ts";

export const theorems: readonly Theorem[] = [openRelay, clearAuth, backscatter, virus, failures, reachable, deadWrites];

/** What the id of a finding stands for. */
export const sentenceOf = (id: string): string => theorems.find((theorem) => theorem.id === id)?.says ?? "";

/** `wanted`: which theorems, by id; an assertion's is `assert` and its words. */
export async function proveAll(
  question: Question,
  assertions: readonly Assertion[],
  wanted: (id: string) => boolean = () => true,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const theorem of theorems) if (wanted(theorem.id)) findings.push(...(await theorem.prove(question)));
  for (const assertion of assertions) {
    if (wanted(assertionId(assertion))) findings.push(await proveAssertion(question, assertion));
  }
  return findings;
}
