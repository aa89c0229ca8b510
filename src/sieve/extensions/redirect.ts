/**
 * RFC 5228 §4.2 redirect, and what is said to the next server about it: RFC 6009 §4 (:notify, :ret) and §5 (:bytime…).
 * To a list: RFC 6134 §2.3. Sending is the gateway's; what is sent: ../replies/redirection.ts.
 */
import type { Value } from "../../language/ir.ts";
import { formatAddress, parseScriptAddress } from "../address.ts";
import type { Checker } from "../check.ts";
import { codes } from "../codes.ts";
import { SieveRuntimeError } from "../errors.ts";
import type { SieveHost } from "../host.ts";
import type { Arguments, Call, CommandSpec, Evaluation, Extension, TagSpec } from "../registry.ts";
import type { RedirectAction } from "../result.ts";

const tagValues = ["notify", "ret", "bytimerelative", "bytimeabsolute", "bymode"];

export const redirect: CommandSpec = {
  kind: "command",
  name: "redirect",
  positional: [{ name: "address", type: "string" }],
  check(call, check) {
    const text = check.constant(call.arguments[0]);
    if (text === undefined || call.tags.has("list")) return;
    const parsed = parseScriptAddress(text, check.context.settings.utf8Addresses);
    if (parsed.ok) return;
    const message = `specified redirect address '${text}' is invalid: ${parsed.problem}`;
    check.error(call.arguments[0]!, codes.value, message);
  },
  lower(call, to) {
    const groups: Record<string, Value[]> = { address: to.values(call.arguments[0]) };
    for (const name of tagValues) groups[name] = to.values(call.tags.get(name)?.value);
    const data = { copy: call.tags.has("copy"), list: call.tags.has("list"), trace: call.tags.has("bytrace") };
    return [to.effect("redirect", call.node.span, groups, data)];
  },
};

export const redirectEffect: NonNullable<Evaluation["effects"]>[string] = (host, data, args, span) => {
  const text = args.address?.[0] ?? "";
  const fail = (problem: string): never => {
    throw new SieveRuntimeError(problem, span);
  };
  const target = data.list === true ? listTarget(host, text, fail) : { address: addressTarget(host, text, fail) };
  const { notify, ret } = { notify: args.notify?.[0]?.toUpperCase(), ret: args.ret?.[0]?.toUpperCase() };
  if (notify !== undefined && !isNotify(notify)) fail(`invalid :notify value '${notify.slice(0, 80)}'`);
  if (ret !== undefined && !isRet(ret)) fail(`invalid :ret value '${ret.slice(0, 80)}'`);
  const deliverBy = deliverByOf(host.now, args, data.trace === true, fail);
  host.result.add(
    {
      action: "redirect",
      ...target,
      copy: data.copy === true,
      mail: host.snapshot(),
      ...(notify === undefined ? {} : { notify }),
      ...(ret === undefined ? {} : { ret }),
      ...(deliverBy === undefined ? {} : { deliverBy }),
    },
    span,
  );
};

function addressTarget(host: SieveHost, text: string, fail: (problem: string) => never): string {
  const parsed = parseScriptAddress(text, host.settings.utf8Addresses);
  return parsed.ok
    ? formatAddress(parsed.address)
    : fail(`specified redirect address '${text.slice(0, 80)}' is invalid: ${parsed.problem}`);
}

/** RFC 6134 §2.3: members that are no addresses are left out; a list that can't be told out is an error. */
function listTarget(host: SieveHost, list: string, fail: (problem: string) => never) {
  const limit = host.budget.sieveListMembers;
  const entries = host.lists?.members?.(list, limit + 1);
  if (entries === undefined) return fail(`redirect action: '${list.slice(0, 80)}' is no list to redirect to`);
  if (entries.length > limit) fail(`redirect action: list '${list.slice(0, 80)}' has more than ${limit} members`);
  const members = entries.flatMap((entry) => {
    const parsed = parseScriptAddress(entry, host.settings.utf8Addresses);
    return parsed.ok ? [formatAddress(parsed.address)] : [];
  });
  return { address: list, members };
}

// ---- RFC 6009

/** RFC 3461 §4.1: NEVER, or any of the others. */
function isNotify(text: string): boolean {
  return /^(?:NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*)$/i.test(text);
}

function isRet(text: string): boolean {
  return /^(?:FULL|HDRS)$/i.test(text);
}

function isMode(text: string): boolean {
  return /^(?:notify|return)$/i.test(text);
}

/** Seconds of a date-time of RFC 3339 §5.6; undefined for other text. A zone without colon (date's "zone") is taken. */
function timeOf(text: string): number | undefined {
  const match = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d(?:\.\d+)?)(Z|[+-]\d\d):?(\d\d)?$/i.exec(text);
  if (match === null) return undefined;
  const [, day, time, zone = "", minutes] = match;
  if ((zone.toUpperCase() === "Z") !== (minutes === undefined)) return undefined;
  const ms = Date.parse(`${day}T${time}${minutes === undefined ? "Z" : `${zone}:${minutes}`}`);
  return Number.isNaN(ms) ? undefined : Math.floor(ms / 1_000);
}

function deliverByOf(
  now: Date,
  args: Arguments,
  trace: boolean,
  fail: (problem: string) => never,
): RedirectAction["deliverBy"] {
  const [relative, absolute, mode = "notify"] = ["bytimerelative", "bytimeabsolute", "bymode"].map(
    (name) => args[name]?.[0],
  );
  if (relative === undefined && absolute === undefined) return undefined;
  const deadline = absolute === undefined ? Math.floor(now.getTime() / 1_000) + Number(relative) : timeOf(absolute);
  if (deadline === undefined) return fail(`invalid :bytimeabsolute value '${absolute!.slice(0, 80)}'`);
  if (!isMode(mode)) fail(`invalid :bymode value '${mode.slice(0, 80)}'`);
  return { deadline, mode: mode.toLowerCase() === "return" ? "R" : "N", trace };
}

/** A tag of redirect whose constant text is looked at. */
function checkedTag(name: string, valid: (text: string) => boolean, hint: string, group?: string): TagSpec {
  return {
    name,
    value: "string",
    ...(group === undefined ? {} : { group }),
    check(use, _call, check) {
      const text = check.constant(use.value);
      if (text === undefined || valid(text)) return;
      check.error(use.value!, codes.value, `invalid :${name} value '${text}' for the redirect command`, hint);
    },
  };
}

const onRedirect = (tag: TagSpec) => ({ on: ["redirect"], tag });

export const redirectDsn: Extension = {
  capability: "redirect-dsn",
  specification: "RFC 6009 §4",
  doc: { summary: "`:notify` and `:ret` on redirect.", example: `redirect :notify "never" "me@example.net";` },
  tags: [
    onRedirect(checkedTag("notify", isNotify, 'use "NEVER", or any of "SUCCESS,FAILURE,DELAY"')),
    onRedirect(checkedTag("ret", isRet, 'use "FULL" or "HDRS"')),
  ],
};

const deadlines = ":bytimerelative or :bytimeabsolute";

/** §5: how, without when, means nothing. */
function needsDeadline(call: Call, check: Checker): void {
  if (call.tags.has("bytimerelative") || call.tags.has("bytimeabsolute")) return;
  const message = `the redirect command has :bymode or :bytrace, but neither ${deadlines}`;
  check.error({ span: call.node.nameSpan }, codes.arguments, message);
}

export const redirectDeliverBy: Extension = {
  capability: "redirect-deliverby",
  specification: "RFC 6009 §5",
  doc: {
    summary: "`:bytimerelative`, `:bytimeabsolute`, `:bymode` and `:bytrace` on redirect.",
    example: `redirect :copy :bytimerelative 600 :bymode "return" "cellphone@example.com";`,
  },
  tags: [
    onRedirect({ name: "bytimerelative", value: "number", group: deadlines }),
    onRedirect(
      checkedTag("bytimeabsolute", (text) => timeOf(text) !== undefined, "write 2030-01-31T22:00:00Z", deadlines),
    ),
    onRedirect({ ...checkedTag("bymode", isMode, 'use "notify" or "return"'), after: needsDeadline }),
    onRedirect({
      name: "bytrace",
      after: (call, check) => {
        if (!call.tags.has("bymode")) needsDeadline(call, check);
      },
    }),
  ],
};
