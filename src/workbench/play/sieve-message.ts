/** A message for a Sieve script that is played by hand, with the envelope that its header suggests. Pure. */
import { budgetDefaults } from "../../config/budget.ts";
import { mailboxesOf, parseAddresses } from "../../message/addresses.ts";
import { type ParsedMessage, parseMessage } from "../../message/parse.ts";
import { formatAddress } from "../../sieve/address.ts";

/** @param known what the user says of the envelope; the rest is read off Return-Path or From, Delivered-To or To. */
export function messageToPlay(
  bytes: Uint8Array,
  known: { from?: string | undefined; to?: string | undefined },
): { message: ParsedMessage; envelope: { from: string; to: string } } {
  const message = parseMessage(bytes, budgetDefaults);
  const address = (...names: string[]): string => {
    const fields = names.flatMap((name) => message.headers.all(name));
    const box = fields.flatMap((field) => mailboxesOf(parseAddresses(field.value))).find((b) => b.address !== "");
    return box ? formatAddress(box) : "";
  };
  const from = known.from ?? address("return-path", "from");
  const to = known.to ?? address("delivered-to", "x-original-to", "to");
  return { message, envelope: { from, to } };
}
