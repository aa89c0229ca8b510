/**
 * DKIM signatures and ARC seals on mail that leaves (RFC 6376 §5, RFC 8617 §5.1): those that scripts asked for, those
 * of the configured keys for mail of our own senders, and the configured seal on mail of others that is passed on.
 * Invariants: what is hashed is what goes over the wire, after every conversion for the host; mail of strangers is never
 * signed by the configured keys, whatever its From says. Failure: `seal` rejects when a key can't be read or used, and
 * the recipients are deferred.
 */
import { dirname, resolve } from "node:path";
import { sealMessage } from "../checks/arc.ts";
import { authorDomains } from "../checks/authenticate.ts";
import { authenticationResultsOf } from "../checks/authres.ts";
import { Keyring } from "../checks/dkim/keyring.ts";
import { type SigningKey, signDkim } from "../checks/dkim/sign.ts";
import { type HeaderField, type Message, readHeader, readMessage } from "../checks/message.ts";
import type { CheckContext } from "../checks/types.ts";
import type { Seal, SignatureRequest } from "../delivery/types.ts";
import { domainOf } from "../message/envelope.ts";
import type { BodySource, QueuedMessage } from "../queue/types.ts";
import { ContentEncoder } from "../smtp/outgoing/content.ts";
import { inMemoryBody } from "../smtp/outgoing/memory-body.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Live } from "./live.ts";

export interface SigningOptions {
  live(): Live;
  /** What checks of a message need, for the chain that a seal continues. */
  context(live: Live): CheckContext;
  log: Logger;
}

/** A message is signed by this many keys at most. */
const maxSignatures = 8;

export function createSeal(options: SigningOptions): Seal {
  const keyring = new Keyring();

  async function keysFor(
    message: QueuedMessage,
    fields: readonly HeaderField[],
    requests: readonly SignatureRequest[],
    ours: boolean,
  ): Promise<SigningKey[]> {
    const { config } = options.live();
    const authors = authorDomains(fields);
    const fallback = authors[0] ?? domainOf(message.envelope.mailFrom);
    const script = dirname(config.policy.smtpFilters ?? "");
    const wanted = new Map<string, SignatureRequest>();
    for (const { domain, selector, keyPath } of requests) {
      if (selector === "" || keyPath === "" || (domain || fallback) === "") {
        options.log.warn(
          { queueId: message.id, domain, selector, keyPath },
          "signDKIM without selector or key: ignored",
        );
        continue;
      }
      const request = { domain: (domain || fallback).toLowerCase(), selector, keyPath: resolve(script, keyPath) };
      wanted.set(JSON.stringify(request), request);
    }
    if (ours) {
      for (const { domain, selector, key } of config.dkim) {
        const request = { domain, selector, keyPath: key };
        if (authors.includes(domain)) wanted.set(JSON.stringify(request), request);
      }
    }
    const chosen = [...wanted.values()].slice(0, maxSignatures);
    return Promise.all(chosen.map(({ domain, selector, keyPath }) => keyring.load(domain, selector, keyPath)));
  }

  return async (message, body, requests) => {
    const live = options.live();
    const { config, budget } = live;
    const marked = (message.marks.signatures ?? []) as readonly SignatureRequest[];
    const asked = [...marked, ...requests];
    const { authUser, protocol, remoteIp } = message.client;
    // LOCAL: reports and other mail that is made here.
    const ours = authUser !== "" || protocol === "LOCAL" || remoteIp === "" || live.trusts(remoteIp);
    const sealing = ours ? null : config.arc;
    if (asked.length === 0 && sealing === null && (!ours || config.dkim.length === 0)) return body;

    const read = (): Promise<Message> => readMessage(asSent(body), budget);
    const fields = await readHeader(asSent(body), budget);
    const keys = await keysFor(message, fields, asked, ours);
    const timestamp = Math.floor(Date.now() / 1_000);
    const signatures = keys.length === 0 ? [] : await signDkim(await read(), keys, { timestamp });
    const added = signatures.map((value) => field("DKIM-Signature", value));
    if (sealing !== null) {
      const key = await keyring.load(sealing.domain, sealing.selector, sealing.key);
      const whole = await read();
      const results = authenticationResultsOf(fields, config.server.name);
      const signed = { fields: [...added, ...whole.fields], body: whole.body };
      const set = await sealMessage(signed, key, results, options.context(live));
      // RFC 8617 §5.1: seal, signature, results, from the top.
      if (set) {
        added.unshift(
          field("ARC-Seal", set.seal),
          field("ARC-Message-Signature", set.messageSignature),
          field("ARC-Authentication-Results", set.authenticationResults),
        );
      }
    }
    return added.length === 0 ? body : withPrefix(body, added);
  };
}

function field(name: string, value: string): HeaderField {
  return { name: name.toLowerCase(), raw: `${name}: ${value}` };
}

/** The octets of DATA before dot-stuffing: what the recipient's verifier will see. */
async function* asSent(body: BodySource): AsyncGenerator<Buffer> {
  const encoder = new ContentEncoder({ dots: false, maxLine: 998 });
  for await (const chunk of body.stream()) yield encoder.push(chunk);
  const tail = encoder.end();
  if (tail.length > 0) yield tail;
}

function withPrefix(body: BodySource, fields: readonly HeaderField[]): BodySource {
  const prefix = Buffer.from(fields.map(({ raw }) => `${raw}\r\n`).join(""), "latin1");
  const memory = body.inMemory();
  if (memory) return inMemoryBody(Buffer.concat([prefix, memory]));
  return {
    size: prefix.length + body.size,
    inMemory: () => undefined,
    async *stream() {
      yield prefix;
      yield* body.stream();
    },
  };
}
