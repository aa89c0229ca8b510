/**
 * Settings of a test suite: Pigeonhole's keys as tests set them, mapped to ours.
 * Invariants: keys that mean nothing to us are kept and ignored, as tests set many. Failure: SettingError for a value
 * that can't be read, which ends the test file.
 */
import { defaultSettings, type HeaderRule, type ScoreSource, type SieveSettings } from "../settings.ts";

export class SettingError extends Error {}

/** The surroundings that suites written for Pigeonhole expect (names, location, storage). */
export const suiteSettings: SieveSettings = {
  ...defaultSettings,
  postmaster: "postmaster@example.com",
  hostname: "localhost",
  userEmail: "testsuite-mail-user@example.org",
  utf8Addresses: false,
  location: "MS",
  phase: "post",
  implementation: "Pigeonhole Sieve",
  environment: {
    "vnd.dovecot.default-mailbox": "INBOX",
    "vnd.dovecot.username": "testsuite-mail-user@example.org",
  },
};

const units: Readonly<Record<string, number>> = {
  "": 1,
  msec: 0.001,
  msecs: 0.001,
  ms: 0.001,
  s: 1,
  sec: 1,
  secs: 1,
  min: 60,
  mins: 60,
  m: 60,
  h: 3_600,
  hour: 3_600,
  hours: 3_600,
  d: 86_400,
  day: 86_400,
  days: 86_400,
  w: 604_800,
  week: 604_800,
  weeks: 604_800,
};

/** Seconds of "2s", "1d", "30 days". */
function duration(text: string): number {
  const match = /^\s*(\d+)\s*([a-z]*)\s*$/i.exec(text);
  const unit = match === null ? undefined : units[match[2]!.toLowerCase()];
  if (unit === undefined) throw new SettingError(`not a period of time: ${text}`);
  return Number(match![1]) * unit;
}

/** Octets of "1024", "4k", "1M". */
function size(text: string): number {
  const match = /^\s*(\d+)\s*([bkmg]?)b?\s*$/i.exec(text);
  if (match === null) throw new SettingError(`not a size: ${text}`);
  return Number(match[1]) * 1024 ** "bkmg".indexOf(match[2]!.toLowerCase() || "b");
}

function count(text: string): number {
  if (!/^\s*\d+\s*$/.test(text)) throw new SettingError(`not a number: ${text}`);
  return Number(text);
}

function truth(text: string): boolean {
  if (/^\s*(?:yes|true|y)\s*$/i.test(text)) return true;
  if (/^\s*(?:no|false|n)\s*$/i.test(text)) return false;
  throw new SettingError(`not yes or no: ${text}`);
}

type Values = ReadonlyMap<string, string>;

/** The settings of one set of keys. */
export function settingsFrom(values: Values): SieveSettings {
  const base = suiteSettings;
  const read = <T>(keys: string | readonly string[], parse: (text: string) => T, otherwise: T): T => {
    for (const key of typeof keys === "string" ? [keys] : keys) {
      const text = values.get(key);
      if (text !== undefined) return parse(text);
    }
    return otherwise;
  };
  const text = (value: string) => value;
  const vacation = "sieve_vacation_";
  const minPeriod = read(`${vacation}min_period`, duration, base.vacation.minPeriod);
  const maxPeriod = read(`${vacation}max_period`, duration, base.vacation.maxPeriod);
  const defaultSubject = read<string | undefined>(`${vacation}default_subject`, text, undefined);
  return {
    ...base,
    cpuMs: read("sieve_max_cpu_time", duration, base.cpuMs / 1000) * 1000,
    scriptBytes: read("sieve_max_script_size", size, base.scriptBytes),
    maxActions: read("sieve_max_actions", count, base.maxActions),
    maxRedirects: read("sieve_max_redirects", count, base.maxRedirects),
    redirectEnvelopeFrom: read("sieve_redirect_envelope_from", text, base.redirectEnvelopeFrom),
    userEmail: read("sieve_user_email", text, base.userEmail).replace(/^<|>$/g, ""),
    maxVariables: read(["sieve_variables_max_scope_count", "sieve_variables_max_scope_size"], count, base.maxVariables),
    variableBytes: read(
      ["sieve_variables_max_value_size", "sieve_variables_max_variable_size"],
      size,
      base.variableBytes,
    ),
    recipientDelimiter: read("recipient_delimiter", text, base.recipientDelimiter),
    includes: read("sieve_include_max_includes", count, base.includes),
    includeDepth: read("sieve_include_max_nesting_depth", count, base.includeDepth),
    editHeaderBytes: Math.max(1_024, read("sieve_editheader_max_header_size", size, base.editHeaderBytes)),
    headerRules: headerRules(values),
    maxNotifications: read("sieve_notify_max_notifications", count, base.maxNotifications),
    mailtoEnvelopeFrom: read("sieve_notify_mailto_envelope_from", text, base.mailtoEnvelopeFrom),
    vacation: {
      minPeriod,
      maxPeriod: maxPeriod === 0 ? 0 : Math.max(minPeriod, maxPeriod),
      defaultPeriod: Math.max(minPeriod, read(`${vacation}default_period`, duration, base.vacation.defaultPeriod)),
      defaultSubject: defaultSubject || undefined,
      subjectTemplate: read(`${vacation}default_subject_template`, text, "") || base.vacation.subjectTemplate,
      useOriginalRecipient: read(`${vacation}use_original_recipient`, truth, base.vacation.useOriginalRecipient),
      checkRecipient: read(
        `${vacation}check_recipient`,
        truth,
        !read(`${vacation}dont_check_recipient`, truth, !base.vacation.checkRecipient),
      ),
      sendFromRecipient: read(`${vacation}send_from_recipient`, truth, base.vacation.sendFromRecipient),
      ignoreEnvelopeInTo: read(`${vacation}to_header_ignore_envelope`, truth, base.vacation.ignoreEnvelopeInTo),
    },
    spamtest: scoreSource(values, "sieve_spamtest_"),
    virustest: scoreSource(values, "sieve_virustest_"),
    reportFrom: read("sieve_report_from", text, base.reportFrom),
    environment: { ...base.environment, ...environment(values) },
  };
}

/** sieve_editheader_header/<n>/{name, forbid_add, forbid_delete}, and the lists of names that 0.5 has. */
function headerRules(values: Values): HeaderRule[] {
  const rules = new Map<string, HeaderRule>();
  const listed = (key: string): string[] => values.get(`sieve_editheader_${key}`)?.split(/\s+/).filter(Boolean) ?? [];
  const [both, add, remove] = [listed("protected"), listed("forbid_add"), listed("forbid_delete")];
  for (const name of new Set([...both, ...add, ...remove])) {
    const any = both.includes(name);
    rules.set(name, { name, forbidAdd: any || add.includes(name), forbidDelete: any || remove.includes(name) });
  }
  for (const [key, value] of values) {
    const match = /^sieve_editheader_header\/([^/]+)(?:\/(name|forbid_add|forbid_delete))?$/.exec(key);
    if (match === null) continue;
    const name = match[1]!;
    const rule = rules.get(name) ?? { name, forbidAdd: false, forbidDelete: false };
    if (match[2] === "name") rule.name = value;
    if (match[2] === "forbid_add") rule.forbidAdd = truth(value);
    if (match[2] === "forbid_delete") rule.forbidDelete = truth(value);
    rules.set(name, rule);
  }
  return [...rules.values()];
}

/** "Field" or "Field: pattern". */
function fieldAndPattern(text: string): { header: string; pattern?: string } {
  const colon = text.indexOf(":");
  if (colon < 0) return { header: text.trim() };
  return { header: text.slice(0, colon).trim(), pattern: text.slice(colon + 1).trim() };
}

function scoreSource(values: Values, prefix: string): ScoreSource | undefined {
  const header = values.get(`${prefix}status_header`);
  const type = values.get(`${prefix}status_type`)?.toLowerCase() ?? "score";
  if (header === undefined || header === "" || (type !== "score" && type !== "strlen" && type !== "text"))
    return undefined;
  const maxHeader = values.get(`${prefix}score_max_header`) ?? values.get(`${prefix}max_header`);
  const maxValue = values.get(`${prefix}score_max_value`) ?? values.get(`${prefix}max_value`);
  const texts: Record<string, string> = {};
  for (const [key, value] of values) {
    const match = new RegExp(`^${prefix}text_value(?:/|)(\\d+)$`).exec(key);
    if (match !== null) texts[match[1]!] = value;
  }
  return {
    ...fieldAndPattern(header),
    type,
    texts,
    ...(maxHeader ? { maxHeader: fieldAndPattern(maxHeader) } : {}),
    ...(maxValue ? { maxValue: Number(maxValue) } : {}),
  };
}

/** sieve_environment/<name> and the older sieve_env_<name>: items of vnd.dovecot.environment. */
function environment(values: Values): Record<string, string> {
  const items: Record<string, string> = {};
  for (const [key, value] of values) {
    const name = /^sieve_environment\/(.+)$/.exec(key)?.[1] ?? /^sieve_env_(.+)$/.exec(key)?.[1];
    if (name !== undefined) items[`vnd.dovecot.config.${name.toLowerCase()}`] = value;
  }
  return items;
}
