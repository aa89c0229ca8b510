/**
 * Other servers' readings of Sieve, as switches over ours: each statement AX-01…AX-37 about Axigen that a checker or a
 * setting can express, and the presets `rfc` (none), `axigen` (the sensible reading), `axigen-literal` (word for word).
 * Invariants: a profile only ever refuses or limits; it gives no construct a new meaning except through `settings`.
 * Failure: diagnostics of code S100 that name the statement.
 */
import type { Checker } from "./check.ts";
import { codes } from "./codes.ts";
import type { Call } from "./registry.ts";
import { defaultSettings, type SieveSettings } from "./settings.ts";

/** A refusal: the message, or undefined when the call is fine. */
type Rule = (call: Call, check: Checker) => string | undefined;

interface Statement {
  /** What Axigen does, one line, for docs and lint. */
  text: string;
  /** A static rule; absent for what is run-time behaviour or already the RFC's. */
  rule?: Rule;
  severity?: "warning";
}

const baseWords = new Set(
  "keep fileinto reject discard redirect stop require if elsif else vacation address envelope header true false allof anyof not exists size spamtest virustest".split(
    " ",
  ),
);
const supported = new Set(
  "fileinto reject envelope copy relational spamtest virustest subaddress vacation comparator-i;octet comparator-i;ascii-casemap comparator-i;ascii-numeric".split(
    " ",
  ),
);
const literal = new Set(["fileinto", "reject", "envelope", "copy", "vacation"]);
const addressFields = new Set("from to cc bcc sender resent-from resent-to".split(" "));
const comparators = new Set(["i;octet", "i;ascii-casemap", "i;ascii-numeric"]);

function texts(call: Call, check: Checker, at: number): string[] {
  return check.strings(call.arguments[at]).map((node) => check.constant(node)?.toLowerCase() ?? "");
}

function requireOnly(allowed: ReadonlySet<string>): Rule {
  return (call, check) => {
    if (call.spec.name !== "require") return undefined;
    const other = texts(call, check, 0).find((name) => !allowed.has(name));
    return other === undefined ? undefined : `require "${other}" is not accepted`;
  };
}

function comparatorOf(call: Call, check: Checker): string | undefined {
  return check.constant(call.tags.get("comparator")?.value)?.toLowerCase();
}

/** A reject beside anything but stop (AX-18): siblings count, alternatives don't. */
const rejectAlone: Rule = (call, check) => {
  const other = check.previous?.spec.name;
  const acts = new Set(["keep", "discard", "fileinto", "redirect", "vacation", "reject"]);
  if (call.spec.name === "reject" && other !== undefined && acts.has(other))
    return `reject must be the only action, but follows ${other}`;
  if (acts.has(call.spec.name) && other === "reject")
    return `${call.spec.name} can't follow reject, which must be the only action`;
  return undefined;
};

export const statements: Readonly<Record<string, Statement>> = {
  "AX-01": {
    text: "base language of RFC 3028: five actions, nine tests, stop, require, if",
    rule: (call) => (baseWords.has(call.spec.name) ? undefined : `${call.spec.name} is not part of the language`),
  },
  "AX-02": {
    text: "extensions: fileinto, reject, envelope, copy, relational, spamtest, virustest, subaddress, vacation",
    rule: requireOnly(supported),
  },
  "AX-03": {
    text: "require accepts only fileinto, reject, envelope, copy, vacation (word for word)",
    rule: requireOnly(literal),
  },
  "AX-04": {
    text: "comparators i;octet, i;ascii-casemap, i;ascii-numeric",
    rule: (call, check) => {
      const name = comparatorOf(call, check);
      return name === undefined || comparators.has(name) ? undefined : `comparator ${name} is not supported`;
    },
  },
  "AX-05": { text: "i;ascii-numeric with :contains or :matches is an error" },
  "AX-06": {
    text: ":count needs i;ascii-numeric",
    rule: (call, check) =>
      call.tags.has("count") && comparatorOf(call, check) !== "i;ascii-numeric"
        ? ':count needs :comparator "i;ascii-numeric"'
        : undefined,
  },
  "AX-07": {
    text: ":count looks at the first key only",
    severity: "warning",
    rule: (call, check) =>
      call.tags.has("count") && check.strings(call.arguments.at(-1)).length > 1
        ? "only the first key of :count would be used"
        : undefined,
  },
  "AX-08": { text: "keys of address tests need not be addresses" },
  "AX-09": {
    text: "the address test takes From, To, Cc, Bcc, Sender, Resent-From, Resent-To",
    rule: (call, check) => {
      const other =
        call.spec.name === "address" ? texts(call, check, 0).find((name) => !addressFields.has(name)) : undefined;
      return other === undefined ? undefined : `the address test doesn't take field "${other}"`;
    },
  },
  "AX-10": {
    text: "the envelope test takes from and to",
    rule: (call, check) => {
      const other =
        call.spec.name === "envelope"
          ? texts(call, check, 0).find((name) => name !== "from" && name !== "to")
          : undefined;
      return other === undefined ? undefined : `the envelope test doesn't take part "${other}"`;
    },
  },
  "AX-11": { text: "require comes first" },
  "AX-12": { text: "elsif and else follow if or elsif" },
  "AX-13": { text: "diagnostics carry their own tags" },
  "AX-14": {
    text: "size takes 0 to 4294967295",
    rule: (call) =>
      call.spec.name === "size" && call.arguments[0]?.kind === "number" && call.arguments[0].value > 4_294_967_295
        ? "size is larger than 4294967295"
        : undefined,
  },
  "AX-15": {
    text: "i;ascii-numeric values above 4294967295 all count as 4294967296 (contradicts RFC 4790; not imitated)",
  },
  "AX-16": { text: "i;ascii-numeric ignores leading blanks (contradicts RFC 4790; not imitated)" },
  "AX-17": { text: "two comparator, address-part or match-type tags in one test are an error" },
  "AX-18": { text: "reject stands alone and once", rule: rejectAlone },
  "AX-19": { text: "keep goes with all but reject, stored once" },
  "AX-20": { text: "discard goes with all but reject" },
  "AX-21": { text: "the same folder twice is a warning and one copy" },
  "AX-22": { text: "the same redirect address twice is a warning and one message" },
  "AX-23": { text: "each action cancels the implicit keep, except stop, vacation and :copy" },
  "AX-24": { text: "no action, or an error: implicit keep" },
  "AX-25": { text: "a second vacation is ignored (contradicts RFC 5230; ours is an error)" },
  "AX-26": { text: "vacation goes with all but reject" },
  "AX-27": { text: "vacation :days from 1 to 45, default 7" },
  "AX-28": { text: "vacation remembers by hash" },
  "AX-29": { text: "vacation answers personal messages only" },
  "AX-30": { text: "vacation replies have no References (ours have)" },
  "AX-31": { text: "spamtest reads X-AxigenSpam-Level" },
  "AX-32": { text: "virustest reads X-AxigenVirus-Level" },
  "AX-33": { text: "level fields: digits first, text after them ignored" },
  "AX-34": { text: "a scanner overwrites a level only with a higher one" },
  "AX-35": {
    text: "rules see headers and size, not the body",
    rule: (call) => (call.spec.name === "body" ? "tests of the body are not supported" : undefined),
  },
  "AX-36": { text: "levels run server, domain, account; the last matching action wins" },
  "AX-37": {
    text: "vacation is the draft of 2005: no :seconds, no :fcc",
    rule: (call) =>
      call.spec.name === "vacation" && (call.tags.has("seconds") || call.tags.has("fcc"))
        ? "vacation takes neither :seconds nor :fcc"
        : undefined,
  },
};

export class Profile {
  readonly name: string;
  readonly settings: SieveSettings;
  readonly #on: ReadonlySet<string>;
  readonly #active: ReadonlyArray<readonly [id: string, statement: Statement]>;

  /** @param on statements in force, by id. */
  constructor(name: string, on: readonly string[], settings: SieveSettings) {
    this.name = name;
    this.settings = settings;
    this.#on = new Set(on);
    this.#active = on
      .map((id) => [id, statements[id]!] as const)
      .filter(([, statement]) => statement?.rule !== undefined);
  }

  /** The statement is in force. */
  has(id: string): boolean {
    return this.#on.has(id);
  }

  /** Called for each well-formed call. */
  check(call: Call, check: Checker): void {
    for (const [id, statement] of this.#active) {
      const message = statement.rule!(call, check);
      if (message === undefined) continue;
      const text = `${id}: ${message}`;
      if (statement.severity === "warning") check.warn({ span: call.node.nameSpan }, codes.profile, text);
      else
        check.error(
          { span: call.node.nameSpan },
          codes.profile,
          text,
          `a server of this profile refuses the script: ${statement.text}`,
        );
    }
  }
}

/** AX-27, AX-31 to AX-33 */
const axigenSettings: SieveSettings = {
  ...defaultSettings,
  vacation: { ...defaultSettings.vacation, maxPeriod: 45 * 86_400 },
  spamtest: { header: "X-AxigenSpam-Level", pattern: "^\\s*([0-9]+)", type: "score", maxValue: 10 },
  virustest: { header: "X-AxigenVirus-Level", pattern: "^\\s*([0-9]+)", type: "score", maxValue: 5 },
};

const all = Object.keys(statements);

export const profiles = {
  rfc: new Profile("rfc", [], defaultSettings),
  axigen: new Profile(
    "axigen",
    all.filter((id) => id !== "AX-03"),
    axigenSettings,
  ),
  "axigen-literal": new Profile("axigen-literal", all, axigenSettings),
} as const;
