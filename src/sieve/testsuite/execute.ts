/**
 * Carries out a result in the world of a test suite: what the processing chain does for real mail.
 * Invariants: an action is carried out once; after a failed store the message is kept (RFC 5228 §2.10.6).
 * Failure: answers the errors.
 */
import type { MimePart } from "../../message/mime.ts";
import { type SieveEnvelope, withNested } from "../host.ts";
import type { Mail } from "../mail.ts";
import type { OutgoingMessage } from "../replies/compose.ts";
import { abuseReport, notification } from "../replies/notification.ts";
import { redirection } from "../replies/redirection.ts";
import { rejectionReport } from "../replies/rejection.ts";
import { vacationReply } from "../replies/vacation.ts";
import type { Action, FileTarget, NotifyAction, Result, VacationAction } from "../result.ts";
import type { SieveSettings } from "../settings.ts";
import type { World } from "./world.ts";

export interface Surroundings {
  world: World;
  envelope: SieveEnvelope;
  settings: SieveSettings;
  /** The message and flags of an implicit keep. */
  mail: Mail;
  flags: readonly string[];
}

/** @param finalKeep false: a later script decides about the implicit keep, explicit keeps included. */
export function carryOut(result: Result, around: Surroundings, finalKeep = true): string[] {
  const errors: string[] = [];
  const open = result.actions.filter((placed) => !placed.done);
  for (const placed of open) {
    placed.done = true;
    if (placed.action.action === "keep" && !finalKeep) continue;
    const problem = carryOutOne(placed.action, around);
    if (problem) {
      errors.push(problem);
      break;
    }
  }
  const keeps = result.implicitKeep && !result.kept;
  if (finalKeep && (keeps || errors.length > 0)) {
    result.kept = true;
    keep(around.mail, around.flags, around);
  }
  return errors;
}

function carryOutOne(action: Action, around: Surroundings): string | undefined {
  const { world, envelope, settings } = around;
  switch (action.action) {
    case "keep":
      keep(action.mail, action.flags ?? around.flags, around);
      return undefined;
    case "fileinto":
      return file("fileinto", action, action.mail.bytes, stored(action.flags ?? around.flags, action.mail), world);
    case "redirect":
      return send(redirection(action, envelope, settings), world);
    case "reject":
    case "ereject":
      return send(rejectionReport(action, envelope, settings), world);
    case "vacation":
      return sendWithCopy(vacationReply(action, envelope, settings).send, action, world);
    case "notify":
      return sendWithCopy(notification(action, envelope, settings), action, world);
    case "report":
      return send(abuseReport(action, envelope, settings), world);
    case "discard":
      return undefined;
  }
}

export function keep(mail: Mail, flags: readonly string[], { world }: Surroundings): void {
  world.store("INBOX", mail.bytes, stored(flags, mail), true);
}

function send(outgoing: OutgoingMessage | undefined, world: World): undefined {
  for (const to of outgoing?.to ?? []) world.outbox.push({ from: outgoing!.from, to, message: outgoing!.message });
}

/** RFC 8580: a copy of what was sent, and of nothing else. */
function sendWithCopy(sent: OutgoingMessage | undefined, { action, fcc }: Composing, world: World): string | undefined {
  send(sent, world);
  if (sent === undefined || fcc === undefined) return undefined;
  return file(`${action} :fcc`, fcc, sent.message, fcc.flags ?? [], world);
}

type Composing = Pick<VacationAction | NotifyAction, "action" | "fcc">;

/** Why a message could not be filed; RFC 8579 §4: the folder with the special use goes before the named one. */
function file(
  what: string,
  target: FileTarget,
  message: Buffer,
  flags: readonly string[],
  world: World,
): string | undefined {
  const { folder, specialUse, create } = target;
  const name = (specialUse && world.folderFor(specialUse)) ?? folder;
  const problem = world.store(name, message, flags, create);
  if (problem) return `${what} action: failed to store into mailbox '${name}': ${problem}`;
  if (specialUse && create && world.folderFor(specialUse) === undefined) world.setSpecialUse(name, specialUse);
  return undefined;
}

/** Flags as the store keeps them: Dovecot's notes whether there are attachments. */
function stored(flags: readonly string[], mail: Mail): string[] {
  const attached = [...withNested(mail.root)].some(isAttachment);
  return [...flags, attached ? "$HasAttachment" : "$HasNoAttachment"];
}

function isAttachment(part: MimePart): boolean {
  return (
    part.disposition === "attachment" || (part.type !== "text" && part.type !== "multipart" && part.filename !== "")
  );
}
