/**
 * Lowering of `call (check) onError …`: the look-up, what its failure does to the command, and for filters the verdict.
 */
import type { Name } from "../../grammar/smtpfilters/ast.ts";
import type * as ir from "../language/ir.ts";
import type { Span } from "../language/span.ts";
import type { Scope } from "./scope.ts";
import { hidden, slotOf } from "./slots.ts";
import { type MethodRow, type OnError, onErrorWords } from "./vocabulary.ts";

/** Where a statement stands: its text, and the method or rule around it. */
export interface Place {
  span: Span;
  rule?: string;
}

const slotValue = (name: string): ir.Value => ({ op: "slot", slot: slotOf(name) });
const constant = (text: string): ir.Value => ({ op: "const", text });

/** `origin`: "rule:line", kept with the action that a failure or a verdict sets. */
export function lowerCheck(
  method: MethodRow,
  onError: Name | undefined,
  place: Place,
  origin: string,
  scope: Scope,
  out: ir.Block,
): void {
  const word = onError?.text.toLowerCase();
  const action = word === undefined ? method.onError : onErrorWords.find((known) => known === word)!;
  const failed = action === "ignore" ? [] : [scope.temporary("(failed)")];
  const act = (value: ir.Value, explanation: ir.Value): ir.Block => [
    { op: "set", slot: slotOf("smtpAction"), value, ...place },
    { op: "set", slot: slotOf("smtpExplanation"), value: explanation, ...place },
    { op: "set", slot: slotOf(hidden.actionOrigin), value: constant(origin), ...place },
  ];
  const reads = method.reads.map(slotOf);
  const writes = [...method.writes.map(slotOf), ...failed];
  // Header and recipient edits are done after the event, so no check sees them; filters see those named before.
  const sees = method.name === "executeFilters" ? ["addMilterFilter"] : [];
  out.push({ op: "lookup", name: method.name, reads, writes, data: {}, sees, ...place });
  if (method.verdict) {
    const [verdict, explanation] = method.verdict.map(slotValue);
    const silent = equals(slotOf(method.verdict[0]), "", place.span);
    out.push({ op: "if", test: silent, then: [], else: act(verdict!, explanation!), ...place });
  }
  if (failed.length > 0) {
    const then = act(constant(action), constant(`${method.name} could not be completed`));
    out.push({ op: "if", test: equals(failed[0]!, "yes", place.span), then, else: [], ...place });
  }
}

/** What an unstated onError means, for P046. */
export function describeDefault(method: MethodRow): string {
  const words: Record<OnError, string> = {
    ignore: "the mail goes on",
    accept: "the command is accepted",
    reject: "the command is rejected",
    tmpreject: "the command is refused for now",
  };
  const values = Object.entries(method.failure).map(([name, value]) => `${name} is "${value}"`);
  return `${words[method.onError]}, ${values.join(", ")}`;
}

/** The test that a slot holds exactly this text. */
export function equals(slot: number, text: string, span: Span): ir.Test {
  const subject: ir.Subject = { op: "one", value: { op: "slot", slot } };
  return { op: "match", subject, how: "is", fold: "octet", keys: [constant(text)], span };
}
