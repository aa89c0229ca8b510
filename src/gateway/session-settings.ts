/**
 * The session settings that a policy's engine variables mean (smtpfilters.md §5.3). Pure: live sessions and
 * `postern explain` announce the same. Failure: none; unset variables leave the setting as it was.
 */
import type { PolicySession } from "../policy/types.ts";
import type { SessionSettings } from "../smtp/incoming/hooks.ts";

/** AUTH mechanisms that accounts and configuration allow, under TLS and without. */
export interface OfferedMechanisms {
  secure: readonly string[];
  plain: readonly string[];
}

/** Changes `settings` in place to what the policy's variables now say. */
export function takeSettings(settings: SessionSettings, policy: PolicySession, offered: OfferedMechanisms): void {
  const number = (name: string, fallback: number): number => {
    const text = policy.read(name);
    return text === "" ? fallback : Number(text);
  };
  const yes = (name: string, fallback: boolean): boolean => {
    const text = policy.read(name).toLowerCase();
    return text === "" ? fallback : text === "yes";
  };
  settings.maxMessageBytes = number("maxDataSize", settings.maxMessageBytes / 1024) * 1024;
  settings.maxRecipients = number("maxRcptCount", settings.maxRecipients);
  settings.maxReceivedHeaders = number("maxReceivedHeaders", settings.maxReceivedHeaders);
  settings.allowStartTls = yes("allowStartTLS", settings.allowStartTls);
  settings.allow8bitMime = yes("allow8bitMime", settings.allow8bitMime);
  settings.allowBinary = yes("allowBinaryData", settings.allowBinary);
  settings.allowPipelining = yes("allowPipelining", settings.allowPipelining);
  settings.allowDsn = yes("allowDSN", settings.allowDsn);
  settings.authSecure = yes("secureConnAllowLogin", true)
    ? mechanisms(policy.read("secureConnAuthTypes"), offered.secure)
    : [];
  settings.authPlain = yes("plainConnAllowLogin", true)
    ? mechanisms(policy.read("plainConnAuthTypes"), offered.plain)
    : [];
}

/** "plain cram-md5" or "all" → those of them on offer, in the order of the offer; -PLUS goes with its base. */
function mechanisms(listed: string, offered: readonly string[]): readonly string[] {
  if (offered.length === 0) return offered;
  const words = listed.toUpperCase().split(/\s+/).filter(Boolean);
  return words.length === 0 || words.includes("ALL")
    ? offered
    : offered.filter((name) => words.includes(name.replace(/-PLUS$/, "")));
}
