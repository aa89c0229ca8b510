/**
 * The twelve events of the smtpFilters language (smtpfilters.md §3), and ways to say in which of them something holds.
 */
import type { EventName, PolicyContext } from "./types.ts";

export const eventContext: Readonly<Record<EventName, PolicyContext>> = {
  onConnect: "smtpIn",
  onEhlo: "smtpIn",
  onMailFrom: "smtpIn",
  onRcptTo: "smtpIn",
  onHeadersReceived: "smtpIn",
  onBodyChunk: "smtpIn",
  onDataReceived: "smtpIn",
  onRelay: "smtpOut",
  onDeliveryFailure: "smtpProc",
  onTemporaryDeliveryFailure: "smtpProc",
  onProcessing: "smtpProc",
  onDeliverySuccess: "smtpProc",
};
/** In the order in which a message meets them. */
export const eventNames = Object.keys(eventContext) as EventName[];

export const eventDocs: Readonly<Record<EventName, string>> = {
  onConnect: "A client has connected; the greeting has not been sent.",
  onEhlo: "EHLO or HELO was read; runs again after STARTTLS.",
  onMailFrom: "MAIL FROM was read.",
  onRcptTo: "RCPT TO was read; runs for each recipient.",
  onHeadersReceived: "The header section of the message has arrived.",
  onBodyChunk: "A piece of the body has arrived.",
  onDataReceived: "The whole message has arrived; its reply has not been sent.",
  onRelay: "The message is about to be sent to another server; runs for each destination domain.",
  onDeliveryFailure: "Delivery failed for good; decides the report to the sender.",
  onTemporaryDeliveryFailure: "An attempt failed and will be repeated; decides the warning to the sender.",
  onProcessing: "The queued message begins its way through the filters.",
  onDeliverySuccess: "Delivery succeeded; decides the words of a success notice.",
};

/** What a script may do with a variable in an event. */
export type Access = "ro" | "rw" | "wo";
export type AccessMap = Readonly<Partial<Record<EventName, Access>>>;

export const incoming = eventNames.filter((event) => eventContext[event] === "smtpIn");
export const since = (first: EventName, access: Access): AccessMap =>
  at(incoming.slice(incoming.indexOf(first)), access);
export function at(events: readonly EventName[], access: Access): AccessMap {
  return Object.fromEntries(events.map((event) => [event, access]));
}
export const reports = ["onDeliveryFailure", "onTemporaryDeliveryFailure"] as const;
export const processing = [...reports, "onProcessing", "onDeliverySuccess"] as const;
