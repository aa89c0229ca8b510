/**
 * The tables of docs/reference/prove.md: each theorem × each shipped policy, and each seeded fault with what explain
 * shows of it. `node test/unit/prove/table.ts --write` writes them between their marks; a test holds them current.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Finding } from "../../../src/workbench/prove/theorem.ts";
import { theorems } from "../../../src/workbench/prove/theorems.ts";
import { type Fault, faults } from "./faults.ts";
import { faulty, proofOf, replay, shipped, shownBy, textOf } from "./lab.ts";

export const file = resolve(import.meta.dirname, "../../../docs/reference/prove.md");
const begin = "<!-- made by test/unit/prove/table.ts -->";

/** The row of one fault; "not found" and "nothing" where the prover fails. */
export async function faultRow(fault: Fault): Promise<string> {
  const source = faulty(fault);
  const findings = await proofOf(source, { wanted: fault.found });
  const finding = findings.find(({ result }) => result === "fails");
  const shown = finding?.session && shownBy(source, finding, await replay(source, finding));
  const by = fault.found.startsWith("assert") ? "an assertion" : fault.found;
  return `| ${fault.script} | ${fault.name} | ${finding ? by : "not found"} | ${shown ?? "nothing"} |`;
}

/** One row for each theorem; `proofs` in the order of the shipped policies. */
export function theoremRows(proofs: ReadonlyArray<readonly Finding[]>): string[] {
  const names = new Set(proofs.flat().map(({ theorem }) => theorem));
  return [...names].map((name) => {
    const cells = proofs.map((findings) => {
      const found = findings.filter(({ theorem }) => theorem === name);
      if (found.length === 0) return "not asked";
      return found.map(({ result, cases, reason }) => (cases === 0 ? `${result}: ${reason}` : result)).join(", ");
    });
    const told = theorems.some(({ id }) => id === name) ? name : `\`${name}\``;
    return `| ${told} | ${cells.join(" | ")} |`;
  });
}

async function write(): Promise<void> {
  const proofs: Finding[][] = [];
  for (const script of shipped) proofs.push(await proofOf(textOf(script)));
  const rows: string[] = [];
  for (const fault of faults) rows.push(await faultRow(fault));
  const lines = [
    "",
    "## The shipped policies",
    "",
    `| theorem | ${shipped.join(" | ")} |`,
    `|---|${"---|".repeat(shipped.length)}`,
    ...theoremRows(proofs),
    "",
    "## Seeded faults",
    "",
    "Each is a small edit of a shipped policy; the correct versions give no alarm.",
    "",
    "| policy | fault | found by | what `postern explain` shows |",
    "|---|---|---|---|",
    ...rows,
  ];
  const written = readFileSync(file, "utf8");
  writeFileSync(file, `${written.slice(0, written.indexOf(begin) + begin.length)}\n${lines.join("\n")}\n`);
}

if (process.argv.includes("--write")) await write();
