/**
 * What can be debugged: a script with a session file, one test of a *.test.yaml file, a Sieve script with a message.
 * Failure: throws an Error that says what is missing or wrong.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
import { compileLoaded } from "../play/loaded.ts";
import { testsOf } from "../play/run-tests.ts";
import { type PlaySession, readSession } from "../play/session.ts";
import { recordSieve } from "../play/sieve-steps.ts";
import { recordSteps } from "../play/steps.ts";
import type { Recording } from "./timeline.ts";

const path = z.string().optional();
/** Editors add fields of their own. */
const launchArguments = z.object({
  /** A script (.script, .sieve) or a test file (.test.yaml). */
  program: z.string(),
  /** For a script: the session file of `postern explain`. */
  session: path,
  /** For a test file: the name of the test. */
  test: path,
  /** The message: for Sieve; for a session when its file holds none. */
  message: path,
  /** For Sieve: the envelope; without them it is read off the header. */
  from: path,
  to: path,
});

/** `cwd`: where relative paths begin. */
export async function recordingOf(launch: unknown, cwd: string): Promise<Recording> {
  const given = launchArguments.safeParse(launch);
  if (!given.success) throw new Error("launch needs program: a script, or a test file");
  const { session, test, message, from, to } = given.data;
  const program = resolve(cwd, given.data.program);
  const read = (name: string): Buffer => readFileSync(resolve(cwd, name));
  if (/\.sieve$/i.test(program)) {
    if (message === undefined) throw new Error("launch needs message: a message file for the Sieve script");
    return recordSieve({ path: program, source: read(program).toString("utf8"), message: read(message), from, to });
  }
  if (program.endsWith(".test.yaml")) {
    const found = testNamed(program, test, read);
    return recordScript(found.script, found.session);
  }
  if (session === undefined) throw new Error("launch needs session: a session file for the script");
  const bytes = message === undefined ? undefined : read(message);
  return recordScript(program, readSession(JSON.parse(read(session).toString("utf8"))), bytes);
}

const recordScript = (script: string, session: PlaySession, message?: Uint8Array): Promise<Recording> =>
  recordSteps(compileLoaded(readFileSync(script), script), session, message);

function testNamed(file: string, name: string | undefined, read: (path: string) => Buffer) {
  const { script, tests } = testsOf(file, read);
  const found = tests.find((test) => test.name === name);
  if (!found) throw new Error(`launch needs test: one of ${tests.map((test) => `"${test.name}"`).join(", ")}`);
  return { script, session: found.session };
}
