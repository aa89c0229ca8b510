/**
 * What changes in meaning between two policies: sessions of every class that either can tell apart are played against
 * both, and those that end differently are grouped by what differs.
 * "No difference" is a proof only when all cases were looked at and nothing in either policy escaped the analysis.
 */
import type { Budget } from "../../config/budget.ts";
import type { Module, Value } from "../../language/ir.ts";
import { sliceOf } from "../../language/prove/slice.ts";
import { walkStatements } from "../../language/walk.ts";
import { editOfEffect } from "../../message/edit.ts";
import { play } from "../play/play.ts";
import type { Played } from "../play/played.ts";
import { type PlaySession, readSession } from "../play/session.ts";
import { RuleTrace } from "../play/trace.ts";
import { cases, combinations, Decided } from "./cases.ts";
import { dimensionsOf, sessionOf } from "./dimensions.ts";
import { emptyReading, read } from "./reading.ts";
import { casesLooked, fileOf, labels, type Subject } from "./search.ts";
import { written } from "./theorem.ts";

export interface Change {
  /** Where the sessions part: a command, an effect, the route… */
  what: string;
  before: string;
  after: string;
  /** Cases that change so, at least. */
  cases: number;
  /** The simplest of them, and how it differs from an ordinary session. */
  session: PlaySession;
  because: string[];
}

export interface Difference {
  changes: Change[];
  cases: number;
  /** Why there may be more; empty when this is all. */
  gap: string;
}

/** Different changes are listed up to so many. */
const mostChanges = 100;

export async function differenceOf(before: Subject, after: Subject, budget: Budget): Promise<Difference> {
  const reading = emptyReading();
  for (const { policy } of [before, after]) {
    const { module } = policy;
    read(module, sliceOf(module, { slots: [], effects: new Set(), all: true }), reading);
  }
  const dimensions = dimensionsOf(reading, {
    budget,
    strangers: false,
    trusted: [],
    foreign: false,
    reports: false,
    rights: true,
    allFail: false,
    heedless: false,
    clearAuth: false,
  });
  const decided = new Decided(dimensions);
  const changes = new Map<string, Change>();
  let tried = 0;
  let plays = 0;
  for (const chosen of cases(dimensions)) {
    if (plays === budget.proveCases || tried === budget.proveCases * casesLooked || changes.size === mostChanges) break;
    tried++;
    if (decided.has(chosen)) continue;
    plays++;
    const session = sessionOf(dimensions, chosen);
    const [old, now] = [await playAgainst(before, session), await playAgainst(after, session)];
    decided.add(chosen, old, now);
    for (const parting of partings(outcomeOf(old), outcomeOf(now))) {
      note(changes, parting, session, labels(dimensions, chosen));
    }
  }
  const rates = [ratesOf(before.policy.module), ratesOf(after.policy.module)] as const;
  if (rates[0] !== rates[1]) {
    // Sessions say only whether a rate is over its limit, not what the limit is.
    const session = sessionOf(
      dimensions,
      dimensions.map(() => 0),
    );
    note(changes, { what: "rates", before: rates[0], after: rates[1] }, session, ["clients come often enough"]);
  }
  const total = combinations(dimensions);
  const gap = total > tried ? `${total} cases are too many: ${tried} were tried` : (reading.gaps[0] ?? "");
  return { changes: [...changes.values()], cases: tried, gap };
}

/** Keys and limits of the `rate` tests, in the order of the text. */
function ratesOf(module: Module): string {
  const found = new Map<number, string>();
  const keys = new Map<number, string>();
  walkStatements(Object.values(module.entries), (s) => {
    if (s.op === "set" && module.slots[s.slot]!.name === "(rate key)") keys.set(s.slot, wordsOf(module, s.value));
  });
  walkStatements(Object.values(module.entries), (s) => {
    if (s.op !== "lookup" || s.name !== "rate") return;
    found.set(s.span.start.offset, `"${keys.get(Number(s.data.key)) ?? ""}" ${String(s.data.limit)}`);
  });
  const inOrder = [...found].sort(([a], [b]) => a - b).map(([, words]) => words);
  return inOrder.join(", ") || "none";
}

/** A text as its author wrote it. */
function wordsOf(module: Module, value: Value): string {
  if (value.op === "const") return value.text;
  if (value.op === "slot") return `%${module.slots[value.slot]!.name}%`;
  return value.op === "concat" ? value.parts.map((part) => wordsOf(module, part)).join("") : value.name;
}

function playAgainst({ policy, source, folder }: Subject, session: PlaySession): Promise<Played> {
  return play(policy, session, undefined, new RuleTrace(source), folder);
}

const headers = "header of the message";

type Line = readonly [what: string, value: string];

/** What a client, a next hop, a recipient or a sender can see of a session, in order. */
function outcomeOf(played: Played): Line[] {
  const lines: Line[] = [];
  for (const { command, code, enhanced, text } of played.replies) {
    const [verb] = command.split(":", 1);
    lines.push([`reply to ${verb === "." ? "the message" : verb!.split(" <")[0]}`, `${code} ${enhanced} ${text}`]);
    if (/^(EHLO|HELO) /.test(command)) lines.push(["announcements", played.ehlo.join(", ")]);
  }
  const asked = written(played, "DNSBLServer");
  if (asked !== undefined) lines.push(["block list", asked]);
  for (const { event, effects, action, explanation } of played.events) {
    // Edits show in the header of the message.
    const done = effects.filter((effect) => !editOfEffect(effect));
    const words = done.map(({ kind, ...details }) => `${kind} ${Object.values(details).join(" ")}`);
    lines.push([`what ${event} does`, words.join("; ") || "nothing"]);
    if (event === "onProcessing") lines.push(["verdict of onProcessing", `${action} ${explanation}`.trim() || "none"]);
  }
  lines.push(["discarded", String(played.events.some(({ action }) => action === "discard"))]);
  for (const { domain, ...route } of played.routes) lines.push([`route`, `${domain}: ${JSON.stringify(route)}`]);
  lines.push([headers, played.headers]);
  for (const report of played.reports) lines.push(["report", JSON.stringify(report)]);
  return lines;
}

interface Parting {
  what: string;
  before: string;
  after: string;
}

/** Lines that differ, up to where the sessions go different ways: what comes later only follows from that. */
function partings(old: readonly Line[], now: readonly Line[]): Parting[] {
  const out: Parting[] = [];
  for (let i = 0; i < Math.max(old.length, now.length); i++) {
    const [a, b] = [old[i], now[i]];
    if (a && b && a[0] === b[0] && a[1] === b[1]) continue;
    const what = (a ?? b)![0];
    const before = a?.[0] === what ? a[1] : "nothing";
    const after = b?.[0] === what ? b[1] : "nothing";
    out.push(what === headers ? { what, ...linesApart(before, after) } : { what, before, after });
    const aligned = a?.[0] === b?.[0] && (!what.startsWith("reply") || before < "400" === after < "400");
    if (!aligned) break;
  }
  return out;
}

/** Of two header sections only the lines that the other lacks. */
function linesApart(old: string, now: string): { before: string; after: string } {
  const only = (lines: string, other: string): string =>
    lines
      .split("\r\n")
      .filter((line) => !other.split("\r\n").includes(line))
      .join(" / ") || "nothing";
  return { before: only(old, now), after: only(now, old) };
}

function note(changes: Map<string, Change>, parting: Parting, session: PlaySession, because: string[]): void {
  const id = JSON.stringify([parting.what, kindOf(parting.before), kindOf(parting.after)]);
  const known = changes.get(id);
  if (known) known.cases++;
  else {
    const file = readSession(JSON.parse(JSON.stringify(fileOf(session))));
    changes.set(id, { ...parting, cases: 1, session: file, because });
  }
}

/** Texts that differ only in what a session put into them are one change. */
const kindOf = (value: string): string => /^\d{3} \d\.\d{1,3}\.\d{1,3} /.exec(value)?.[0] ?? value;
