import type { Budget } from "../config/budget.ts";
import type * as ir from "../language/ir.ts";
import type { CheckedScript } from "./check.ts";
import type { Code } from "./codes.ts";
import { eventNames } from "./events.ts";
import { EventLowering, LoweringStopped, type Shared } from "./lower-event.ts";
import { Reporter } from "./reporter.ts";
import { fixedSlots } from "./slots.ts";
import type { SourceText } from "./source.ts";
import type { EventName } from "./types.ts";

export interface Lowered {
  module: ir.Module;
  /** Slots to empty before an event runs: the script's own variables and the compiler's. */
  locals: Partial<Record<EventName, readonly number[]>>;
  /** Slots that hold exported values, by canonical name. */
  exports: ReadonlyMap<string, number>;
  /** Numbered country lists, by canonical name. */
  countryLists: ReadonlyMap<string, number>;
  /** Lists that `inList` names. */
  lists: readonly string[];
}

export function lower(
  script: CheckedScript,
  source: SourceText,
  budget: Pick<Budget, "rules" | "regexBytes">,
  reporter: Reporter,
): Lowered {
  const slots: ir.SlotInfo[] = fixedSlots.map((name) => ({ name, kind: "engine" }));
  const shared: Shared = {
    script,
    source,
    budget,
    reporter,
    slots,
    exports: new Map(),
    countryLists: new Map(),
    lists: new Set(),
    size: 0,
  };
  const entries: Record<string, ir.Block> = {};
  const locals: Partial<Record<EventName, readonly number[]>> = {};
  try {
    for (const [event, block] of script.events) {
      const lowering = new EventLowering(shared, event);
      entries[event] = lowering.run(block);
      locals[event] = lowering.scope.locals;
    }
  } catch (error) {
    if (!(error instanceof LoweringStopped)) throw error;
  }
  checkUncalled(shared);
  const module: ir.Module = { language: "smtpfilters", file: source.file, slots, entries, routines: [] };
  return { module, locals, exports: shared.exports, countryLists: shared.countryLists, lists: [...shared.lists] };
}

/** Findings about constants: they hold wherever a method is called from. */
const constantCodes: ReadonlySet<string> = new Set(["P030", "P031", "P032", "P033", "P034", "P035", "P037", "P038"]);

/** Methods that nobody calls make no code, but their constants are looked at, in every event they might be meant for. */
function checkUncalled(shared: Shared): void {
  const { script, source, reporter } = shared;
  for (const [key, method] of script.methods) {
    if (script.reached.has(key)) continue;
    const scratch = new Reporter(source, false);
    const apart: Shared = {
      ...shared,
      reporter: scratch,
      slots: [...shared.slots],
      exports: new Map(),
      countryLists: new Map(),
      lists: new Set(),
    };
    try {
      for (const event of eventNames) new EventLowering(apart, event).run(method);
    } catch (error) {
      if (!(error instanceof LoweringStopped)) throw error;
    }
    for (const { code, span, message, hint, severity } of scratch.diagnostics()) {
      const range = { start: span.start.offset, end: span.end.offset };
      if (constantCodes.has(code)) reporter.report(code as Code, range, message, hint, severity);
    }
  }
}
