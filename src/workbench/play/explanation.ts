/**
 * Words for a played session: the contract's JSON, and the same for human eyes. Rules that were not tried are listed
 * with the reason. Pure.
 */
import type { Block, Module } from "../../language/ir.ts";
import { printable } from "../../message/outcome.ts";
import type { PolicyEffect } from "../../policy/types.ts";
import type { Played, PlayedEvent, PlayedReport } from "./played.ts";
import { isRule } from "./trace.ts";

export interface SkippedRule {
  line: number;
  rule: string;
  reason: string;
}

export function explanationJson(played: Played, module: Module, source: string): unknown {
  return {
    ...played,
    events: played.events.map((event) => ({ ...event, skipped: skippedRules(event, module, source) })),
  };
}

/** Rules of the event that were not tried, with the rule around them that wasn't entered. */
export function skippedRules(event: PlayedEvent, module: Module, source: string): SkippedRule[] {
  const tried = new Map<number, boolean>();
  for (const { line, result } of event.path) tried.set(line, result);
  const skipped: SkippedRule[] = [];
  const walk = (block: Block, around: string): void => {
    for (const s of block) {
      if (s.op !== "if") continue;
      const { line } = s.span.start;
      if (!isRule(source, s.span)) {
        walk(s.then, around);
        walk(s.else, around);
        continue;
      }
      const result = tried.get(line);
      if (result === undefined)
        skipped.push({ line, rule: s.rule ?? "", reason: around || "the event ended before it" });
      const outside = result === undefined ? around : "";
      walk(s.then, outside || `the test in line ${line} is false`);
      walk(s.else, outside || `the test in line ${line} is true`);
    }
  };
  walk(module.entries[event.event] ?? [], "");
  const seen = new Set<number>();
  return skipped.filter(({ line }) => !tried.has(line) && !seen.has(line) && seen.add(line));
}

export function explanationText(played: Played, module: Module, source: string): string {
  const out: string[] = [`policy ${played.policy}`];
  const replies = [...played.replies];
  for (const event of played.events) {
    out.push("", `${event.event}${event.about ? ` (${event.about})` : ""}`);
    out.push(...eventText(event, module, source).map((line) => `  ${line}`));
  }
  if (replies.length > 0) out.push("", "replies");
  for (const reply of replies) {
    const text = printable(reply.text);
    out.push(`  ${reply.command}`, `    ${reply.code} ${reply.enhanced} ${text}   [${reply.by}]`);
  }
  if (played.ehlo.length > 0) out.push("", `announced: ${played.ehlo.join(", ")}`);
  for (const { domain, host, port, ...more } of played.routes) {
    const details = Object.entries(more).map(([name, value]) => `${name}=${value}`);
    out.push("", `route for ${domain}: ${host || `MX of ${domain}`}, port ${port} ${details.join(" ")}`.trimEnd());
  }
  for (const report of played.reports) out.push("", ...reportText(report));
  for (const name of played.missing)
    out.push("", `note: the session gives no answer for ${name}: it counted as failed`);
  for (const note of played.notes) out.push("", `note: ${note}`);
  return `${out.join("\n")}\n`;
}

function eventText(event: PlayedEvent, module: Module, source: string): string[] {
  const lines: string[] = [];
  for (const tried of event.path) {
    lines.push(`line ${tried.line}${tried.rule ? ` ${tried.rule}` : ""}: ${tried.result ? "yes" : "no"}`);
    for (const { test, values, result } of tried.tests) {
      const seen = values.map((value) => `"${shortened(printable(value))}"`).join(", ");
      lines.push(`    ${result ? "true " : "false"} ${test}   saw ${seen || "nothing"}`);
    }
  }
  for (const { line, rule, reason } of skippedRules(event, module, source)) {
    lines.push(`line ${line}${rule ? ` ${rule}` : ""}: not tried, ${reason}`);
  }
  for (const lookup of event.lookups) lines.push(`asked ${lookup}`);
  for (const [name, value] of Object.entries(event.writes)) lines.push(`${name} = "${shortened(printable(value))}"`);
  for (const effect of event.effects) lines.push(`does ${effectText(effect)}`);
  if (event.action) lines.push(`action ${event.action}`);
  return lines.length > 0 ? lines : ["no rules"];
}

function effectText(effect: PolicyEffect): string {
  const { kind, ...rest } = effect;
  return `${kind} ${Object.values(rest)
    .map((value) => `"${shortened(String(value))}"`)
    .join(" ")}`;
}

function reportText(report: PlayedReport): string[] {
  const body = `${report.opening}${report.perRecipient.join("")}${report.footer}`;
  return [
    `${report.kind} report (attaches ${report.attach})`,
    `  From: ${report.sender}`,
    `  Subject: ${report.subject}`,
    ...body.split("\r\n").map((line) => `  | ${line}`),
  ];
}

const shortened = (text: string): string => (text.length > 200 ? `${text.slice(0, 200)}…` : text);
