/**
 * A milter as a filter of the chain: the session is played to it from what is known of the client.
 * Failure: by the milter's declared mode; "wait" fails the filter, so that the message stays in the queue.
 */
import type { Budget } from "../config/budget.ts";
import { MilterChain } from "../scanners/milter/chain.ts";
import type { MilterClient } from "../scanners/milter/link.ts";
import { clientMacro } from "../scanners/milter/macros.ts";
import type { Decision, Filter, FilterContext } from "./filter.ts";

export function milterFilter(client: MilterClient, priority: number, hostName: string, budget: Budget): Filter {
  return {
    name: client.settings.name,
    level: "server",
    priority,
    run: (context) => playMilter(client, context, hostName, budget),
  };
}

async function playMilter(
  client: MilterClient,
  { message, content, recipients }: FilterContext,
  hostName: string,
  budget: Budget,
): Promise<Decision> {
  const macro = (name: string) => clientMacro(name, message.client, message.envelope, hostName, message.id);
  const chain = new MilterChain([client], macro, budget, true);
  try {
    const refused: string[] = [];
    const { remoteIp, remotePort, ehlo } = message.client;
    for (const step of [
      () => chain.connect({ host: `[${remoteIp}]`, ip: remoteIp, port: remotePort }),
      () => chain.helo(ehlo),
      () => chain.mail(message.envelope.mailFrom),
    ]) {
      const answer = await step();
      if (answer.outcome)
        return { action: { kind: answer.outcome.temporary ? "defer" : "reject", outcome: answer.outcome } };
    }
    for (const { address } of recipients) if ((await chain.rcpt(address)).outcome) refused.push(address);
    const data = await chain.data();
    // Our Received field is the top one of every message that came in over SMTP.
    const result = data.outcome ? undefined : await chain.message(content.header, 1, () => content.body());
    const reply = data.outcome ?? result?.outcome;
    if (reply !== undefined) return { action: { kind: reply.temporary ? "defer" : "reject", outcome: reply } };
    if (result === undefined || result.discard) return { action: { kind: "discard", reason: client.settings.name } };
    const { envelope } = result;
    return {
      ...(result.header === undefined ? {} : { header: result.header }),
      ...(result.body === undefined ? {} : { body: result.body }),
      ...(envelope.mailFrom === undefined ? {} : { mailFrom: envelope.mailFrom }),
      ...(envelope.quarantine === "" ? {} : { action: { kind: "quarantine", reason: envelope.quarantine } }),
      addRecipients: envelope.added.map((added) => added.address),
      removeRecipients: [...refused, ...envelope.deleted],
    };
  } finally {
    await chain.close();
  }
}
