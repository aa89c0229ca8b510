/** A compiled script with its text and place, as everything that plays sessions needs it. */
import { dirname } from "node:path";
import { type Diagnostic, formatDiagnostic, hasErrors } from "../../language/diagnostic.ts";
import { compilePolicy, type Policy } from "../../policy/compile.ts";
import { decodeScript } from "../../policy/source.ts";

export interface LoadedPolicy {
  policy: Policy;
  source: string;
  /** Where the script lies: lists it names are looked for there. */
  folder: string;
}

/** Its errors, with the text that they point into. */
export class BrokenScript extends Error {
  readonly source: string;
  readonly errors: readonly Diagnostic[];

  constructor(source: string, diagnostics: readonly Diagnostic[]) {
    const errors = diagnostics.filter((diagnostic) => hasErrors([diagnostic]));
    super(
      errors
        .map((diagnostic) => formatDiagnostic(diagnostic, source))
        .join("")
        .trim(),
    );
    this.source = source;
    this.errors = errors;
  }
}

/** `path`: where it lies; `file`: its name in diagnostics. Throws BrokenScript. */
export function compileLoaded(bytes: Uint8Array, path: string, file = path): LoadedPolicy {
  const source = decodeScript(bytes);
  const result = compilePolicy(source, { file });
  if (!result.ok) throw new BrokenScript(source, result.diagnostics);
  return { policy: result.program, source, folder: dirname(path) };
}
