/** What came of a played session: its events, replies, routes and reports. */
import type { RouteOverride } from "../../message/envelope.ts";
import type { ReportKind } from "../../policy/report.ts";
import type { EventName, PolicyEffect } from "../../policy/types.ts";
import type { ReportText } from "../../queue/types.ts";
import type { TriedRule } from "./trace.ts";

export interface PlayedEvent {
  event: EventName;
  /** Destination or recipient at hand, when there are several. */
  about?: string;
  path: TriedRule[];
  writes: Record<string, string>;
  action: string;
  explanation: string;
  effects: PolicyEffect[];
  lookups: string[];
}

export interface PlayedReply {
  command: string;
  code: number;
  enhanced: string;
  text: string;
  /** Rule and line, or "engine". */
  by: string;
}

export interface PlayedRoute extends RouteOverride {
  domain: string;
}

export interface PlayedReport extends ReportText {
  kind: ReportKind;
}

export interface Played {
  policy: string;
  events: PlayedEvent[];
  replies: PlayedReply[];
  ehlo: string[];
  /** Of the first destination that is not local; null when there is none. */
  route: PlayedRoute | null;
  routes: PlayedRoute[];
  reports: PlayedReport[];
  /** Header section after the edits of the script; "" when no message was accepted. */
  headers: string;
  /** Checks the session file gives no answer for: they counted as failed. */
  missing: string[];
  notes: string[];
}
