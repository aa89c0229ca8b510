/**
 * Tests in an editor: where they stand in a test file, the lenses that run them, and what became of them as diagnostics.
 * Texts that are not saved yet count. Failure: a file that can't be read as tests has no lenses; running it says why.
 */
import { existsSync } from "node:fs";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";
import { type CodeLens, DiagnosticSeverity, type Diagnostic as ProtocolDiagnostic } from "vscode-languageserver/node";
import { TextDocument } from "vscode-languageserver-textdocument";
import { isMap, isScalar, isSeq, parseDocument } from "yaml";
import type { CommandNode } from "../../../grammar/sieve/ast.ts";
import { analyseSieve } from "../../sieve/compile.ts";
import { suiteRegistry } from "../../sieve/testsuite/index.ts";
import { isTestFile, runTests, type TestOptions, type TestResult } from "../play/run-tests.ts";
import type { Range } from "./language.ts";

/** `[uri]` runs a file, `[uri, name]` one test of it. */
export const runCommand = "postern.runTests";
/** The editor's own: `[uri, name]`. */
const debugCommand = "postern.debugTest";

export interface TestPlace extends Range {
  name: string;
}

export function testPlaces(path: string, source: string): TestPlace[] {
  return path.endsWith(".svtest") ? sievePlaces(path, source) : yamlPlaces(source);
}

function yamlPlaces(source: string): TestPlace[] {
  const tests = parseDocument(source).get("tests");
  if (!isSeq(tests)) return [];
  return tests.items.flatMap((item): TestPlace[] => {
    const name = isMap(item) ? item.get("name", true) : undefined;
    if (!isScalar(name) || !name.range) return [];
    return [{ name: String(name.value), start: name.range[0], end: name.range[1] }];
  });
}

function sievePlaces(file: string, source: string): TestPlace[] {
  const places: TestPlace[] = [];
  const walk = (nodes: readonly CommandNode[]): void => {
    for (const { name, nameSpan, arguments: given, block } of nodes) {
      const [title] = given;
      if (name.toLowerCase() === "test" && title?.kind === "string")
        places.push({ name: title.text, start: nameSpan.start.offset, end: title.span.end.offset });
      walk(block ?? []);
    }
  };
  walk(analyseSieve(source, { file, registry: suiteRegistry }).commands);
  return places;
}

/** `debugs`: the editor has the command that debugs a test. */
export function testLenses(document: TextDocument, path: string, debugs: boolean): CodeLens[] {
  const lens = (at: Range, title: string, command: string, ...args: string[]): CodeLens => ({
    range: { start: document.positionAt(at.start), end: document.positionAt(at.end) },
    command: { title, command, arguments: args },
  });
  const top = { start: 0, end: 0 };
  if (path.endsWith(".script")) {
    const tests = path.replace(/\.script$/, ".test.yaml");
    return existsSync(tests) ? [lens(top, `Run ${basename(tests)}`, runCommand, pathToFileURL(tests).href)] : [];
  }
  if (!isTestFile(path)) return [];
  const { uri } = document;
  const places = testPlaces(path, document.getText());
  const each = places.flatMap((place) => [
    lens(place, "Run test", runCommand, uri, place.name),
    ...(debugs && path.endsWith(".yaml") ? [lens(place, "Debug test", debugCommand, uri, place.name)] : []),
  ]);
  return places.length === 0 ? [] : [lens(top, `Run ${places.length} tests`, runCommand, uri), ...each];
}

export interface TestOutcome {
  passed: number;
  failed: number;
  results: TestResult[];
  diagnostics: ProtocolDiagnostic[];
}

/** Runs tests of a file and places what failed. Rejects when the file can't be read as tests. */
export async function runInEditor(
  path: string,
  name: string | undefined,
  read: TestOptions["read"],
): Promise<TestOutcome> {
  const source = Buffer.from(read(path)).toString("utf8");
  const { results } = await runTests(path, { read, only: name, shown: basename });
  const document = TextDocument.create("", "", 0, source);
  const places = testPlaces(path, source);
  const diagnostics = results.flatMap(({ name: title, failures }): ProtocolDiagnostic[] => {
    const { start, end } = places.find((place) => place.name === title) ?? { start: 0, end: 0 };
    const range = { start: document.positionAt(start), end: document.positionAt(end) };
    const found = { range, severity: DiagnosticSeverity.Error, source: "postern test" };
    return failures.map((message) => ({ ...found, message: message.trim() }));
  });
  const failed = results.filter(({ failures }) => failures.length > 0).length;
  return { passed: results.length - failed, failed, results, diagnostics };
}
