/**
 * `postern prove FILE`: theorems about a policy, by playing every class of session that it can tell apart (DESIGN §4).
 * A failed one comes with a session that `postern explain` plays to the same end.
 * Exit codes: 0 nothing fails, 1 something fails or the script has errors, 2 wrong usage.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { budgetDefaults } from "../config/budget.ts";
import { diagnosticJson, formatDiagnostic } from "../language/diagnostic.ts";
import { type IpRange, parseIpSet } from "../language/ipset.ts";
import { assertionsOf } from "../policy/assertion.ts";
import { fileOf } from "../workbench/prove/search.ts";
import type { Finding } from "../workbench/prove/theorem.ts";
import { proveAll, sentenceOf } from "../workbench/prove/theorems.ts";
import { budgetOf, guarded, readArguments, reasonOf, UsageError } from "./arguments.ts";
import type { Command, CommandIo } from "./command.ts";
import { loadPolicy } from "./load.ts";

const help = `Usage: postern prove FILE [--trusted NETWORKS] [--out DIR] [--cases N] [--json]

Proves properties of a policy, or shows a session in which one fails: no open
relay, no AUTH in clear text, no backscatter, what a filter refused is never
delivered, safe when checks fail, each rule reachable, nothing always
overwritten; and what the script asserts in comments:

  # assert never accept when mailFromDomain is "corp.example" and not authenticated

  --trusted NETWORKS  addresses whose clients may relay without AUTH, besides
                      private networks: "198.51.100.0/24 2001:db8::/32"
  --out DIR           write the session of each failure to DIR; then
                      postern explain FILE --session DIR/1.json
  --cases N           sessions to play for one theorem (${budgetDefaults.proveCases})
  --json              print one JSON document

Exit code: 0 nothing fails, 1 something fails, 2 wrong usage.`;

export const command: Command = {
  name: "prove",
  summary: "prove that a policy is safe, or show a session in which it is not",
  help,
  run: guarded("prove", async (argv, io) => {
    const options = {
      trusted: { type: "string" },
      out: { type: "string" },
      cases: { type: "string" },
      json: { type: "boolean" },
    } as const;
    const args = readArguments(argv, options);
    const [file] = args.positionals;
    const { trusted: networks, out, cases, json = false } = args.values;
    if (file === undefined || args.positionals.length > 1) throw new UsageError("give one script");
    const trusted: IpRange[] | undefined = networks === undefined ? [] : parseIpSet(networks);
    if (!trusted) throw new UsageError(`--trusted: "${networks}" is not a list of networks`);
    const budget = budgetOf(cases);
    const loaded = loadPolicy(file, io, json);
    if (!loaded) return 1;
    const { assertions, diagnostics } = assertionsOf(loaded.source, file, budget);
    if (diagnostics.length > 0) {
      if (json) io.out(`${JSON.stringify({ diagnostics: diagnostics.map(diagnosticJson) }, null, 2)}\n`);
      else for (const diagnostic of diagnostics) io.err(formatDiagnostic(diagnostic, loaded.source));
      return 1;
    }
    const findings = await proveAll({ subject: { ...loaded, budget }, trusted }, assertions);
    const files = out === undefined ? new Map<Finding, string>() : written(findings, io, out);
    if (!files) return 2;
    io.out(json ? jsonOf(loaded.policy.hash, findings, files) : textOf(file, findings, files));
    return findings.some(({ result }) => result === "fails") ? 1 : 0;
  }),
};

/** Writes each session; undefined after saying why it can't. */
function written(findings: readonly Finding[], io: CommandIo, out: string): Map<Finding, string> | undefined {
  const files = new Map<Finding, string>();
  try {
    mkdirSync(resolve(io.cwd, out), { recursive: true });
    for (const finding of findings) {
      if (!finding.session) continue;
      const file = join(out, `${files.size + 1}.json`);
      writeFileSync(resolve(io.cwd, file), `${JSON.stringify(fileOf(finding.session), null, 2)}\n`);
      files.set(finding, file);
    }
  } catch (error) {
    io.err(`postern prove: ${out}: ${reasonOf(error)}\n`);
    return undefined;
  }
  return files;
}

function jsonOf(policy: string, findings: readonly Finding[], files: ReadonlyMap<Finding, string>): string {
  const theorems = findings.map((finding) => {
    const { session, ...rest } = finding;
    const file = files.get(finding);
    const says = sentenceOf(finding.theorem);
    return {
      ...rest,
      ...(says ? { says } : {}),
      ...(session ? { session: fileOf(session) } : {}),
      ...(file ? { file } : {}),
    };
  });
  return `${JSON.stringify({ policy, theorems }, null, 2)}\n`;
}

function textOf(script: string, findings: readonly Finding[], files: ReadonlyMap<Finding, string>): string {
  const lines: string[] = [];
  for (const finding of findings) {
    const { theorem, result, reason, line, because = [], session } = finding;
    const place = line === undefined || result === "holds" ? "" : `${script}:${line}: `;
    lines.push(`${result.padEnd(7)} ${theorem}`, `        ${place}${reason}`);
    if (result !== "fails") continue;
    for (const words of because) lines.push(`        when ${words}`);
    const file = files.get(finding);
    if (file) lines.push(`        postern explain ${script} --session ${file}`);
    else if (session) lines.push(`        session ${JSON.stringify(fileOf(session))}`);
  }
  const count = (wanted: Finding["result"]): number => findings.filter(({ result }) => result === wanted).length;
  lines.push("", `${count("holds")} hold, ${count("fails")} fail, ${count("unknown")} unknown`);
  return `${lines.join("\n")}\n`;
}
