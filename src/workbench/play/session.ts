/**
 * The session file of `postern explain` and of policy tests: what a client does, and what the network would answer
 * (DESIGN §6). Failure: `readSession` throws SessionError naming the field.
 */
import { z } from "zod";

/** Outputs of a predefined method; a list gives one answer a call; "error" stands for a look-up that fails. */
const values = z.record(z.string(), z.union([z.string(), z.number()]).transform(String));
const answer = z.union([values, z.literal("error")]);
const fact = z.union([answer, z.array(answer), z.record(z.string(), answer)]);

const deliveryFailure = z.strictObject({
  temporary: z.boolean().default(false),
  /** Attempts made, and left. */
  attempts: z.number().int().default(1),
  remaining: z.number().int().default(0),
  rescheduleDate: z.string().default(""),
  /** Failed recipients; without them the accepted ones. */
  recipients: z
    .array(z.strictObject({ address: z.string(), info: z.string().default("550 5.1.1 User unknown") }))
    .optional(),
});

const schema = z.strictObject({
  connect: z
    .strictObject({
      remoteIp: z.string().default("192.0.2.1"),
      remotePort: z.number().int().default(40_000),
      localIp: z.string().default("127.0.0.1"),
      localPort: z.number().int().default(25),
      tls: z.boolean().default(false),
      /** What the client showed under TLS. */
      certificate: z
        .strictObject({
          subject: z.string().default(""),
          issuer: z.string().default(""),
          fingerprint: z.string().default(""),
          verified: z.boolean().default(false),
        })
        .optional(),
    })
    .prefault({}),
  ehlo: z.string().default("client.example"),
  helo: z.boolean().default(false),
  auth: z.string().nullable().default(null),
  mailFrom: z.string().optional(),
  rcptTo: z.array(z.string()).default([]),
  localDomains: z.array(z.string()).default([]),
  trusted: z.boolean().default(false),
  /** smtp.plainTextAuth of the configuration. */
  plainTextAuth: z.boolean().default(false),
  hostName: z.string().default("mx.example.org"),
  /** SIZE= of MAIL FROM, octets. */
  size: z.number().int().optional(),
  /** Headers and text of the message, when no message file is given. */
  message: z.string().optional(),
  facts: z.record(z.string(), fact).default({}),
  lists: z.record(z.string(), z.array(z.string())).default({}),
  relay: values.optional(),
  failure: deliveryFailure.optional(),
  /** Recipients that were delivered or relayed, for onDeliverySuccess. */
  success: z.array(z.strictObject({ address: z.string(), status: z.string().default("delivered") })).optional(),
});

export type PlaySession = z.output<typeof schema>;

export class SessionError extends Error {}

export function readSession(data: unknown): PlaySession {
  const result = schema.safeParse(data);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const where = issue?.path.length ? `${issue.path.join(".")}: ` : "";
  throw new SessionError(`${where}${issue?.message ?? "not a session"}`);
}
