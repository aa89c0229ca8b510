/**
 * A compiled policy as data: one process compiles a script, others open the image in small steps, while mail flows.
 * Invariants: structured cloning copies an image; a program opened from it does what the compiled one does, but it can't
 * be traced or proven. Failure: a script with errors gives diagnostics and no image.
 */
import { type Budget, budgetDefaults } from "../config/budget.ts";
import type { Diagnostic } from "../language/diagnostic.ts";
import { emitting } from "../language/emit.ts";
import { optimise } from "../language/optimise/optimise.ts";
import { pack } from "../language/pack.ts";
import { inSlices } from "../language/slices.ts";
import { analysePolicy, type PolicyOptions, policyHash } from "./compile.ts";
import type { Lowered } from "./lower.ts";
import { type Identity, Program } from "./program.ts";
import type { PolicyProgram } from "./types.ts";

export interface PolicyImage {
  identity: Identity;
  /** With a packed module. */
  lowered: Lowered;
}

export type ImageResult =
  | { ok: true; image: PolicyImage; diagnostics: Diagnostic[] }
  | { ok: false; diagnostics: Diagnostic[] };

export function imageOf(source: string, options: PolicyOptions): ImageResult {
  const { diagnostics, lowered } = analysePolicy(source, options);
  if (lowered === undefined) return { ok: false, diagnostics };
  const identity = { hash: policyHash(source), file: options.file, warnings: diagnostics, lists: lowered.lists };
  const module = pack(optimise(lowered.module));
  return { ok: true, image: { identity, lowered: { ...lowered, module } }, diagnostics };
}

export async function openImage(
  { identity, lowered }: PolicyImage,
  budget: Budget = budgetDefaults,
): Promise<PolicyProgram> {
  const compiled = await inSlices(emitting(lowered.module, { budget }));
  return new Program(identity, { compiled, lowered, budget });
}
