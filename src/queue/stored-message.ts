/**
 * The JSON part of a message's records in the log. Invariants: what the record's head and the recipients say already is
 * not said again: `revived(id, stored, size)` gives back the whole message. Failure: none of its own.
 */
import { idText } from "./message-index.ts";
import type { QueuedMessage } from "./types.ts";

export type StoredMessage = Omit<QueuedMessage, "id" | "envelope" | "size"> & {
  envelope: Omit<QueuedMessage["envelope"], "rcptTo">;
  bodyFile?: string;
  bodySize?: number;
};

export function storedJson(message: QueuedMessage, bodyFile: string | undefined): string {
  const { id: _id, size, envelope, ...rest } = message;
  const { rcptTo: _rcptTo, ...kept } = envelope;
  const stored: StoredMessage = { ...rest, envelope: kept };
  if (bodyFile !== undefined) {
    stored.bodyFile = bodyFile;
    stored.bodySize = size;
  }
  return JSON.stringify(stored);
}

export function revived(id: number, stored: StoredMessage, size: number): QueuedMessage {
  const { bodyFile: _file, bodySize: _size, envelope, ...rest } = stored;
  return { ...rest, id: idText(id), size, envelope: { ...envelope, rcptTo: [...rest.recipients] } };
}
