/** RFC 5235: spamtest, spamtestplus and virustest over our scanners' scores, or over header fields (settings). */
import { compileRegex } from "../../language/regex.ts";
import { codes } from "../codes.ts";
import type { SieveHost } from "../host.ts";
import { headerEffects, settingEffects } from "../lower.ts";
import type { Extension } from "../registry.ts";
import type { ScoreSource } from "../settings.ts";

/** Octets of a field that are searched for a score. */
const fieldLimit = 4_096;

/** The first field's text, or what the pattern's first group found in it. */
function extract(host: SieveHost, header: string, pattern: string | undefined): string | undefined {
  const text = host.mail.first(header.toLowerCase())?.decoded.slice(0, fieldLimit);
  if (text === undefined || pattern === undefined) return text;
  const found = compileRegex(pattern, "octet", host.budget).exec(text);
  return found?.[1] ?? found?.[0];
}

function parseScore(text: string | undefined): number | undefined {
  const match = /^\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)/.exec(text ?? "");
  return match === null ? undefined : Number(match[0]);
}

/** 0…1 from a header field, undefined when the message wasn't tested. @param texts number of text values */
function ratioOf(host: SieveHost, source: ScoreSource, texts: number): number | undefined {
  const text = extract(host, source.header, source.pattern);
  if (text === undefined) return undefined;
  if (source.type === "text") {
    for (let i = 1; i <= texts; i++) if (source.texts?.[String(i)] === text.trim()) return (i - 1) / (texts - 1);
    return undefined;
  }
  const max = source.maxHeader
    ? parseScore(extract(host, source.maxHeader.header, source.maxHeader.pattern))
    : source.maxValue;
  const score = source.type === "strlen" ? text.trim().length : parseScore(text);
  if (score === undefined || max === undefined || max <= 0) return undefined;
  return Math.min(1, Math.max(0, score / max));
}

/** §2.2, §2.3: "0" is "not tested"; a little above the whole number so that exact thresholds survive division. */
function scaled(ratio: number | undefined, kind: "spam" | "percent" | "virus"): string {
  if (ratio === undefined) return "0";
  const value = kind === "percent" ? ratio * 100 + 0.001 : kind === "virus" ? ratio * 4 + 1.001 : ratio * 9 + 1.001;
  return String(Math.floor(value));
}

function spamScore(host: SieveHost, percent: boolean): string {
  const kind = percent ? "percent" : "spam";
  const own = host.input.scores?.spam;
  if (own !== undefined) return scaled(Math.min(1, Math.max(0, own / 100)), kind);
  return host.settings.spamtest ? scaled(ratioOf(host, host.settings.spamtest, 10), kind) : "0";
}

function virusScore(host: SieveHost): string {
  const own = host.input.scores?.virus;
  if (own !== undefined) return String(Math.min(5, Math.max(0, Math.floor(own))));
  return host.settings.virustest ? scaled(ratioOf(host, host.settings.virustest, 5), "virus") : "0";
}

export const spamtest: Extension = {
  capability: "spamtest",
  specification: "RFC 5235 §2.2",
  doc: {
    summary: "A score from 1 (clean) to 10 (spam), 0 when not tested.",
    example: `if spamtest :value "ge" :comparator "i;ascii-numeric" "5" { fileinto "Junk"; }`,
  },
  tests: [
    {
      kind: "test",
      name: "spamtest",
      positional: [{ name: "value", type: "string" }],
      match: true,
      tags: [
        {
          name: "percent",
          check(use, _call, check) {
            if (check.scope.enabled.has("spamtestplus")) return;
            check.error(
              use.node,
              codes.capability,
              "the spamtest test only accepts the :percent argument when the spamtestplus extension is active",
              'add: require "spamtestplus";',
            );
          },
        },
      ],
      lower: (call, to) =>
        to.match(
          call,
          to.subject("spamScore", { percent: call.tags.has("percent") }, [...headerEffects, ...settingEffects]),
          call.arguments[0],
        ),
    },
  ],
  evaluation: { sources: { spamScore: (host, data) => [spamScore(host, data.percent === true)] } },
};

export const spamtestplus: Extension = {
  capability: "spamtestplus",
  specification: "RFC 5235 §2.3",
  implies: ["spamtest"],
  doc: {
    summary: "`:percent`: the score from 0 to 100.",
    example: `if spamtest :percent :value "gt" :comparator "i;ascii-numeric" "90" { discard; }`,
  },
};

export const virustest: Extension = {
  capability: "virustest",
  specification: "RFC 5235 §2.4",
  doc: {
    summary: "A score from 1 (clean) to 5 (infected), 0 when not tested.",
    example: `if virustest :value "eq" :comparator "i;ascii-numeric" "5" { discard; }`,
  },
  tests: [
    {
      kind: "test",
      name: "virustest",
      positional: [{ name: "value", type: "string" }],
      match: true,
      lower: (call, to) =>
        to.match(call, to.subject("virusScore", {}, [...headerEffects, ...settingEffects]), call.arguments[0]),
    },
  ],
  evaluation: { sources: { virusScore: (host) => [virusScore(host)] } },
};
