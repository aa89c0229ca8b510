/** What a played session's EHLO announces: by the same functions as a live one, from the policy's settings. Pure. */
import type { PolicySession } from "../../policy/types.ts";
import { ehloLines } from "../../smtp/incoming/ehlo.ts";
import type { SessionSettings } from "../../smtp/incoming/hooks.ts";
import { initialState } from "../../smtp/incoming/protocol.ts";
import type { PlaySession } from "./session.ts";

/** Lines without the host's name; `policy` after its onEhlo. */
export function announcementsOf(policy: PolicySession, session: PlaySession): string[] {
  const { tls } = session.connect;
  const settings = settingsOf(policy, session);
  const mechanisms = tls ? settings.authSecure : settings.authPlain;
  const terms = {
    profile: "mx" as const,
    settings,
    tlsAvailable: true,
    mechanisms,
    xclientTrusted: false,
    now: Date.now(),
  };
  return ehloLines({ ...initialState(tls), greeted: "EHLO" }, terms).slice(1);
}

function settingsOf(policy: PolicySession, session: PlaySession): SessionSettings {
  const yes = (name: string): boolean => policy.read(name) === "yes";
  const mechanisms = (name: string): string[] => {
    const listed = policy.read(name).toUpperCase().split(" ").filter(Boolean);
    return listed.includes("ALL") ? ["PLAIN", "LOGIN"] : listed.filter((word) => word !== "NONE");
  };
  return {
    greeting: "",
    hostName: session.hostName,
    maxMessageBytes: Number(policy.read("maxDataSize")) * 1024,
    maxRecipients: Number(policy.read("maxRcptCount")),
    maxReceivedHeaders: Number(policy.read("maxReceivedHeaders")),
    allowStartTls: yes("allowStartTLS"),
    allow8bitMime: yes("allow8bitMime"),
    allowBinary: yes("allowBinaryData"),
    allowPipelining: yes("allowPipelining"),
    allowDsn: yes("allowDSN"),
    allowSmtpUtf8: true,
    authSecure: yes("secureConnAllowLogin") ? mechanisms("secureConnAuthTypes") : [],
    authPlain: session.plainTextAuth && yes("plainConnAllowLogin") ? mechanisms("plainConnAuthTypes") : [],
  };
}
