/** The routing variables of a session as one value (smtpfilters.md §5.6, §8.1). */
import type { RouteOverride } from "../message/envelope.ts";
import { overrideSlot, slotOf } from "./slots.ts";
import type { PolicyContext } from "./types.ts";

const slots = {
  host: slotOf("remoteSmtpHost"),
  implicitTls: slotOf("sslEnabled"),
  startTls: slotOf("allowStartTLS"),
  tlsVersions: slotOf("allowedSSLVersions"),
  authPass: slotOf("authPass"),
  authTypes: slotOf("authTypes"),
  localAddress: slotOf("localSmtpIp"),
  /** In onRcptTo these two are the client's when read. */
  incoming: { port: slotOf(overrideSlot("remoteSmtpPort")), authUser: slotOf(overrideSlot("authUser")) },
  outgoing: { port: slotOf("remoteSmtpPort"), authUser: slotOf("authUser") },
} as const;

/** Slots that hold a recipient's override; emptied before each onRcptTo. */
export const overrideSlots: readonly number[] = [
  slots.host,
  slots.implicitTls,
  slots.tlsVersions,
  slots.authPass,
  slots.authTypes,
  slots.localAddress,
  slots.incoming.port,
  slots.incoming.authUser,
];

const defaultPort = 25;

export function routeOf(context: PolicyContext, read: (slot: number) => string): RouteOverride | undefined {
  if (context === "smtpProc") return undefined;
  const side = context === "smtpIn" ? slots.incoming : slots.outgoing;
  const host = read(slots.host);
  if (context === "smtpIn" && overrideSlots.every((slot) => read(slot) === "")) return undefined;
  const optional = {
    tlsVersions: read(slots.tlsVersions),
    authUser: read(side.authUser),
    authPass: read(slots.authPass),
    authTypes: read(slots.authTypes),
    localAddress: read(slots.localAddress),
  };
  return {
    host,
    port: Number(read(side.port)) || defaultPort,
    implicitTls: read(slots.implicitTls) === "yes",
    ...(context === "smtpOut" ? { startTls: read(slots.startTls) !== "no" } : {}),
    ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== "")),
  };
}
