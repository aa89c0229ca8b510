/**
 * What executeFilters answers to a script, with where it came from: which filter or scanner was asked, what it said, how
 * long it took; in the log, in records, in `postern explain`. Failure: that of the filters, written down too.
 */
import type { FactRecord } from "../checks/facts.ts";
import type { FilterVerdict } from "./script-filters.ts";

type Outputs = Record<string, string>;

export class FilterFacts {
  readonly #onRecord: ((record: FactRecord) => void) | undefined;
  readonly #origins = new WeakMap<Outputs, readonly string[]>();

  constructor(onRecord: ((record: FactRecord) => void) | undefined) {
    this.#onRecord = onRecord;
  }

  /** FactSource.origin. */
  origin(answer: Outputs): readonly string[] {
    return this.#origins.get(answer) ?? [];
  }

  /** Output variables; `coded`: the text begins with the filter's own reply code. */
  async outputs(executed: Promise<FilterVerdict>, coded: boolean): Promise<Outputs> {
    const began = performance.now();
    const record = (outputs: Outputs, from: readonly string[], failure: string): void => {
      const elapsedMs = performance.now() - began;
      this.#onRecord?.({ name: "executeFilters", source: "scanner", from, elapsedMs, outputs, failure });
    };
    try {
      const verdict = await executed;
      const outputs = outputsOf(verdict, coded);
      this.#origins.set(outputs, verdict.asked);
      record(outputs, verdict.asked, "");
      return outputs;
    } catch (error) {
      record({}, [], error instanceof Error ? error.message : String(error));
      throw error;
    }
  }
}

function outputsOf({ result, outcome, found }: FilterVerdict, coded: boolean): Outputs {
  const text = outcome === undefined || !coded ? outcome?.text : `${outcome.code} ${outcome.enhanced} ${outcome.text}`;
  return {
    filterResult: result,
    filterExplanation: text ?? "",
    filterVirus: found.virus,
    filterSpamLevel: String(found.spamLevel),
    filterSymbols: found.symbols.join(", "),
  };
}
