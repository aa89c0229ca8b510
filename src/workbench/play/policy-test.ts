/**
 * A policy test file (*.test.yaml): sessions with expectations. Failure: `readTests` throws SessionError naming the
 * place; a failed expectation is a sentence that says what was wanted and what came.
 */
import { parse } from "yaml";
import { z } from "zod";
import { printable } from "../../message/outcome.ts";
import type { Played, PlayedReply } from "./played.ts";
import { type PlaySession, readSession, SessionError } from "./session.ts";

/** A reply is a code, or the begin of "code text": 550, "550 5.7.1", "550 Relay denied". */
const reply = z.union([z.number(), z.string()]).transform(String);
const lines = z.union([z.string(), z.array(z.string())]).transform((item) => (Array.isArray(item) ? item : [item]));

const reportExpectation = z.union([
  z.literal("none"),
  z.strictObject({
    kind: z.enum(["permanent", "temporary", "success"]).optional(),
    sender: z.string().optional(),
    subject: z.string().optional(),
    attach: z.enum(["none", "header", "mail"]).optional(),
    /** Texts that occur in the body. */
    contains: lines.optional(),
  }),
]);

const expectation = z.strictObject({
  greeting: reply.optional(),
  ehlo: reply.optional(),
  announces: lines.optional(),
  hides: lines.optional(),
  mail: reply.optional(),
  /** One for each recipient, or one for all. */
  rcpt: z.union([reply, z.array(reply)]).optional(),
  data: reply.optional(),
  /** Field → text that its value contains; null: no such field. */
  headers: z.record(z.string(), z.string().nullable()).optional(),
  /** "none", or values of the route of the first destination. */
  route: z.union([z.literal("none"), z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))]).optional(),
  report: reportExpectation.optional(),
  /** Kinds of effects that happened, e.g. quarantine. */
  does: lines.optional(),
});

export type Expectation = z.output<typeof expectation>;

export interface PolicyTest {
  name: string;
  session: PlaySession;
  expect: Expectation;
}

export interface PolicyTestFile {
  /** Path of the script as written; undefined: the .script of the same name. */
  script: string | undefined;
  tests: PolicyTest[];
}

const schema = z.strictObject({
  script: z.string().optional(),
  /** Parts that all sessions share; a test's own parts replace them. */
  defaults: z.record(z.string(), z.unknown()).default({}),
  tests: z.array(z.strictObject({ name: z.string(), session: z.record(z.string(), z.unknown()), expect: expectation })),
});

export function readTests(source: string): PolicyTestFile {
  const result = schema.safeParse(parse(source, { merge: true }));
  if (!result.success) {
    const [issue] = result.error.issues;
    throw new SessionError(`${issue?.path.join(".") ?? ""}: ${issue?.message ?? "not a test file"}`);
  }
  const { script, defaults, tests } = result.data;
  return {
    script,
    tests: tests.map(({ name, session, expect }) => {
      try {
        return { name, session: readSession({ ...defaults, ...session }), expect };
      } catch (error) {
        throw new SessionError(`test "${name}": ${error instanceof Error ? error.message : String(error)}`);
      }
    }),
  };
}

/** What was wanted and didn't happen; empty when the test passed. */
export function unmet(expect: Expectation, played: Played): string[] {
  const out: string[] = [];
  const find = (verb: string): PlayedReply[] => played.replies.filter((item) => item.command.startsWith(verb));
  const check = (what: string, wanted: string | undefined, got: PlayedReply | undefined): void => {
    if (wanted === undefined || (got && matches(wanted, got))) return;
    out.push(`${what}: wanted "${wanted}", got ${got ? `"${shown(got)}"` : "no reply"}`);
  };
  check("greeting", expect.greeting, find("connect")[0]);
  check("EHLO", expect.ehlo, find("EHLO")[0] ?? find("HELO")[0]);
  for (const word of expect.announces ?? []) {
    if (!played.ehlo.includes(word)) out.push(`EHLO: wanted ${word} among ${played.ehlo.join(", ")}`);
  }
  for (const word of expect.hides ?? []) {
    if (played.ehlo.some((line) => line.split(" ")[0] === word)) out.push(`EHLO: ${word} is announced`);
  }
  check("MAIL FROM", expect.mail, find("MAIL FROM")[0]);
  const recipients = find("RCPT TO");
  const { rcpt } = expect;
  if (Array.isArray(rcpt)) for (const [i, wanted] of rcpt.entries()) check(`RCPT TO ${i + 1}`, wanted, recipients[i]);
  else if (rcpt !== undefined && recipients.length === 0) check("RCPT TO", rcpt, undefined);
  else for (const got of recipients) check(got.command, rcpt, got);
  check("end of data", expect.data, find(".")[0]);
  out.push(...unmetHeaders(expect, played), ...unmetRoute(expect, played), ...unmetReport(expect, played));
  const kinds = new Set<string>(played.events.flatMap((event) => event.effects.map((effect) => effect.kind)));
  for (const kind of expect.does ?? []) {
    if (!kinds.has(kind)) out.push(`wanted ${kind} to happen; what happened: ${[...kinds].join(", ") || "nothing"}`);
  }
  return out;
}

const shown = ({ code, enhanced, text }: PlayedReply): string => `${code} ${enhanced} ${printable(text)}`;

/** "550", "550 5.7.1 text" or "550 text": the code, then words that the reply contains. */
function matches(wanted: string, got: PlayedReply): boolean {
  const [code, ...words] = wanted.split(" ");
  return code === String(got.code) && shown(got).includes(words.join(" "));
}

function unmetHeaders({ headers = {} }: Expectation, played: Played): string[] {
  const unfolded = played.headers.replace(/\r?\n(?=[ \t])/g, "").split(/\r?\n/);
  const out: string[] = [];
  for (const [name, wanted] of Object.entries(headers)) {
    const lead = `${name.toLowerCase()}:`;
    const values = unfolded
      .filter((line) => line.toLowerCase().startsWith(lead))
      .map((line) => line.slice(lead.length).trim());
    if (wanted === null) {
      if (values.length > 0) out.push(`header ${name}: wanted none, got "${values[0]}"`);
    } else if (!values.some((value) => value.includes(wanted))) {
      out.push(`header ${name}: wanted "${wanted}", got ${values.length > 0 ? `"${values.join('", "')}"` : "none"}`);
    }
  }
  return out;
}

function unmetRoute({ route }: Expectation, played: Played): string[] {
  if (route === undefined) return [];
  if (route === "none") return played.route ? [`route: wanted none, got ${JSON.stringify(played.route)}`] : [];
  if (!played.route) return ["route: nothing was relayed"];
  const got: Record<string, unknown> = { ...played.route };
  return Object.entries(route)
    .filter(([name, wanted]) => got[name] !== wanted)
    .map(([name, wanted]) => `route ${name}: wanted ${JSON.stringify(wanted)}, got ${JSON.stringify(got[name])}`);
}

function unmetReport({ report }: Expectation, played: Played): string[] {
  if (report === undefined) return [];
  const [got] = played.reports;
  if (report === "none") return got ? [`report: wanted none, got "${got.subject}"`] : [];
  if (!got) return ["report: none was made"];
  const out: string[] = [];
  for (const name of ["kind", "sender", "subject", "attach"] as const) {
    const wanted = report[name];
    if (wanted !== undefined && wanted !== got[name])
      out.push(`report ${name}: wanted "${wanted}", got "${got[name]}"`);
  }
  const body = `${got.opening}${got.perRecipient.join("")}${got.footer}`;
  for (const text of report.contains ?? []) {
    if (!body.includes(text)) out.push(`report: "${text}" does not occur in the body`);
  }
  return out;
}
