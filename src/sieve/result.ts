/**
 * The result of a run as a transaction: actions are collected and checked against each other (RFC 5228 §2.10,
 * RFC 5429 §2.4, RFC 5230 §4.7, RFC 9122), nothing happens until the caller commits them.
 * Invariants: an action equal to an earlier one is merged into it; the order of actions is the script's.
 * Failure: SieveRuntimeError for a forbidden combination or a limit.
 */
import type { Span } from "../language/span.ts";
import { SieveRuntimeError } from "./errors.ts";
import type { Mail } from "./mail.ts";

/** The message at the time of the action; absent for one that doesn't carry the message. */
interface WithMail {
  mail: Mail;
}

export interface KeepAction extends WithMail {
  action: "keep";
  /** Absent: the flags of the internal variable at the end of the run (RFC 5232 §5). */
  flags?: readonly string[];
}

/** Where a stored copy goes. */
export interface FileTarget {
  folder: string;
  /** RFC 5490 §3.2: made when it is missing. */
  create: boolean;
  /** RFC 8579 §4: the mailbox with this attribute, `folder` when there is none. */
  specialUse?: string;
  flags?: readonly string[];
}

export interface FileintoAction extends WithMail, FileTarget {
  action: "fileinto";
  copy: boolean;
}

export interface RedirectAction extends WithMail {
  action: "redirect";
  /** RFC 6134 §2.3: for `members` the name of their list. */
  address: string;
  /** Addresses of a list, as the list stands now. */
  members?: readonly string[];
  copy: boolean;
  /** RFC 6009 §4. */
  notify?: string;
  ret?: string;
  /** RFC 6009 §5: seconds since the epoch. */
  deliverBy?: { deadline: number; mode: "N" | "R"; trace: boolean };
}

export interface RejectAction extends WithMail {
  action: "reject" | "ereject";
  reason: string;
}

export interface VacationAction extends WithMail {
  action: "vacation";
  reason: string;
  subject?: string;
  from?: string;
  addresses: readonly string[];
  mime: boolean;
  /** Seconds between replies to one sender. */
  period: number;
  /** Replies with the same handle are the same reply (RFC 5230 §4.2). */
  handle: string;
  /** RFC 8580: where a copy of the reply goes. */
  fcc?: FileTarget;
}

export interface NotifyAction extends WithMail {
  action: "notify";
  method: string;
  from?: string;
  message: string;
  importance: string;
  options: readonly string[];
  fcc?: FileTarget;
}

export interface ReportAction extends WithMail {
  action: "report";
  feedbackType: string;
  text: string;
  address: string;
  headersOnly: boolean;
}

export type Action =
  | KeepAction
  | FileintoAction
  | RedirectAction
  | { action: "discard" }
  | RejectAction
  | VacationAction
  | NotifyAction
  | ReportAction;

export interface ResultLimits {
  maxActions: number;
  maxRedirects: number;
  maxNotifications: number;
}

/** An action of the result, with the place in the script that asked for it. */
export interface PlacedAction {
  action: Action;
  span: Span;
  /** Executed already (a result may be executed, then added to). */
  done: boolean;
}

const delivering = new Set(["keep", "fileinto", "redirect", "discard"]);

export class Result {
  readonly actions: PlacedAction[] = [];
  /** RFC 5228 §2.10.2: no action cancelled the implicit keep. */
  implicitKeep = true;
  /** The implicit keep was carried out already. */
  kept = false;
  readonly #limits: () => ResultLimits;

  constructor(limits: () => ResultLimits) {
    this.#limits = limits;
  }

  add(action: Action, span: Span): void {
    const limits = this.#limits();
    if (!this.#merge(action)) {
      this.#refuseConflicts(action, span);
      const count = this.actions.length + 1;
      if (limits.maxActions > 0 && count > limits.maxActions) {
        throw new SieveRuntimeError(
          `total number of actions exceeds policy limit (${count} > ${limits.maxActions})`,
          span,
        );
      }
      this.#limit(action, "redirect", limits.maxRedirects, span);
      this.#limit(action, "notify", limits.maxNotifications, span);
      this.actions.push({ action, span, done: false });
    }
    if (cancelsKeep(action)) this.implicitKeep = false;
  }

  #limit(action: Action, name: Action["action"], limit: number, span: Span): void {
    if (action.action !== name) return;
    const count = this.actions.filter((placed) => placed.action.action === name).length + 1;
    if (limit === 0) throw new SieveRuntimeError(`local policy prohibits the use of a ${name} action`, span);
    if (count > limit) {
      throw new SieveRuntimeError(`number of ${name} actions exceeds policy limit (${count} > ${limit})`, span);
    }
  }

  /** RFC 5228 §2.10.3: the same action twice happens once. */
  #merge(action: Action): boolean {
    for (const { action: other, done } of this.actions) {
      // A fileinto of INBOX is a keep (RFC 5228 §4.1).
      if (action.action !== other.action && isInbox(action) && isInbox(other)) return true;
      if (other.action !== action.action) continue;
      if (action.action === "keep" || action.action === "fileinto") {
        const store = other as KeepAction | FileintoAction;
        if (action.action === "fileinto" && (store as FileintoAction).folder !== action.folder) continue;
        if (done) return true;
        if (action.flags !== undefined) store.flags = action.flags;
        if (action.action === "fileinto" && !action.copy) (store as FileintoAction).copy = false;
        return true;
      }
      if (action.action === "discard") return true;
      if (action.action === "redirect" && sameAddress((other as RedirectAction).address, action.address)) {
        if (!action.copy) (other as RedirectAction).copy = false;
        return true;
      }
    }
    return false;
  }

  #refuseConflicts(action: Action, span: Span): void {
    const name = action.action;
    for (const { action: other, span: where } of this.actions) {
      const previous = `(previously triggered one was here: line ${where.start.line})`;
      const rejects = isReject(action) || isReject(other);
      if (name === "vacation" && other.action === "vacation") {
        // RFC 5230 §4.7
        throw new SieveRuntimeError(`duplicate vacation action not allowed ${previous}`, span);
      }
      if (isReject(action) && isReject(other)) {
        throw new SieveRuntimeError(`duplicate reject action not allowed ${previous}`, span);
      }
      // RFC 5429 §2.4, RFC 5230 §4.7
      const conflicting = (o: Action) => isReject(o) || o.action === "vacation" || delivering.has(o.action);
      if (rejects && conflicting(action) && conflicting(other) && !isCopy(action) && !isCopy(other)) {
        throw new SieveRuntimeError(
          `${name} action conflicts with other action: the ${other.action} action ${previous}`,
          span,
        );
      }
    }
  }
}

function isInbox(action: Action): boolean {
  return action.action === "keep" || (action.action === "fileinto" && action.folder.toUpperCase() === "INBOX");
}

function isReject(action: Action): boolean {
  return action.action === "reject" || action.action === "ereject";
}

function isCopy(action: Action): boolean {
  return (action.action === "fileinto" || action.action === "redirect") && action.copy;
}

/** RFC 5228 §2.10.2, RFC 3894 §3, RFC 5230 §4.7, RFC 5435 §3.8: which actions cancel the implicit keep. */
function cancelsKeep(action: Action): boolean {
  if (isCopy(action)) return false;
  return delivering.has(action.action) || isReject(action);
}

/** Local parts are compared exactly, domains without case (RFC 5321 §2.4). */
function sameAddress(a: string, b: string): boolean {
  const split = (text: string): [string, string] => {
    const at = text.lastIndexOf("@");
    return [text.slice(0, at), text.slice(at).toLowerCase()];
  };
  const [aLocal, aDomain] = split(a);
  const [bLocal, bDomain] = split(b);
  return aLocal === bLocal && aDomain === bDomain;
}
