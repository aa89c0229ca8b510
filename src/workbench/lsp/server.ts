/**
 * The language server (Language Server Protocol 3.17) for smtpFilters and Sieve: protocol in, protocol out; what is
 * known of the languages is behind `Analysis`. Invariants: diagnostics belong to the newest version of a text, requests
 * are answered from the version they were asked for, and a text that was closed leaves nothing behind.
 * Failure: a request about a text that isn't open is answered with nothing.
 */
import { readFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import {
  type CodeAction,
  CodeActionKind,
  type CompletionItem,
  type Connection,
  createConnection,
  ErrorCodes,
  InsertTextFormat,
  type LocationLink,
  LSPErrorCodes,
  MarkupKind,
  MessageType,
  type Diagnostic as ProtocolDiagnostic,
  type Range as ProtocolRange,
  ResponseError,
  ShowMessageNotification,
  StreamMessageReader,
  StreamMessageWriter,
  TextDocumentSyncKind,
  TextDocuments,
  type TextEdit,
} from "vscode-languageserver/node";
import { TextDocument } from "vscode-languageserver-textdocument";
import { isTestFile } from "../play/run-tests.ts";
import { HitHints } from "./hit-hints.ts";
import type { Analyse, Analysis, Completion } from "./language.ts";
import { analysePolicyText } from "./policy/analysis.ts";
import { analyseSieveText } from "./sieve/analysis.ts";
import { runCommand, runInEditor, type TestOutcome, testLenses } from "./test-lens.ts";
import { pathOf, protocolDiagnostic, rangeIn, symbol, textEdit, top } from "./translate.ts";

/** By the ending of the file's name, and by the editor's name for the language. */
const languages: Readonly<Record<string, Analyse>> = {
  script: analysePolicyText,
  smtpfilters: analysePolicyText,
  sieve: analyseSieveText,
};

/** `initializationOptions`: what an editor may say beside the protocol. */
interface EditorOptions {
  /** Folder of decision records, for hints how often rules are taken. */
  records?: unknown;
  /** It has a command `postern.debugTest`. */
  debugTests?: unknown;
}

/** Changes that come within so many milliseconds of each other get one answer. */
const pauseMs = 20;

/** Serves one editor; resolves when it has gone. */
export function serve(input: NodeJS.ReadableStream, output: NodeJS.WritableStream): Promise<void> {
  const connection = createConnection(new StreamMessageReader(input), new StreamMessageWriter(output));
  new Server(connection);
  connection.listen();
  return new Promise((resolve) => {
    input.once("end", resolve);
    input.once("close", resolve);
  });
}

class Server {
  private readonly connection: Connection;
  private readonly documents = new TextDocuments(TextDocument);
  private readonly analyses = new Map<string, { version: number; analysis: Analysis }>();
  private readonly pending = new Map<string, NodeJS.Timeout>();
  private readonly testFailures = new Map<string, ProtocolDiagnostic[]>();
  private snippets = false;
  private debugsTests = false;
  private hits: HitHints | undefined;

  constructor(connection: Connection) {
    this.connection = connection;
    this.lifecycle();
    this.reading();
    this.changing();
    this.testing();
    this.documents.listen(connection);
  }

  private lifecycle(): void {
    const { connection, documents } = this;
    connection.onInitialize(({ capabilities, initializationOptions, workspaceFolders, rootUri }) => {
      const { records, debugTests } = (initializationOptions ?? {}) as EditorOptions;
      const root = pathOf(workspaceFolders?.[0]?.uri ?? rootUri ?? "") ?? process.cwd();
      if (typeof records === "string" && records !== "") this.hits = new HitHints(resolve(root, records));
      this.debugsTests = debugTests === true;
      this.snippets = capabilities.textDocument?.completion?.completionItem?.snippetSupport ?? false;
      return {
        serverInfo: { name: "postern" },
        capabilities: {
          textDocumentSync: TextDocumentSyncKind.Incremental,
          completionProvider: { triggerCharacters: ["(", '"', "%", ":", "{", ","] },
          hoverProvider: true,
          definitionProvider: true,
          referencesProvider: true,
          documentHighlightProvider: true,
          documentSymbolProvider: true,
          documentFormattingProvider: true,
          renameProvider: { prepareProvider: true },
          codeActionProvider: { codeActionKinds: [CodeActionKind.QuickFix] },
          codeLensProvider: {},
          executeCommandProvider: { commands: [runCommand] },
          ...(this.hits ? { inlayHintProvider: true } : {}),
        },
      };
    });
    documents.onDidChangeContent(({ document }) => {
      this.testFailures.delete(document.uri);
      this.announce(document.uri);
    });
    documents.onDidClose(({ document: { uri } }) => {
      clearTimeout(this.pending.get(uri));
      this.pending.delete(uri);
      this.analyses.delete(uri);
      this.testFailures.delete(uri);
      void connection.sendDiagnostics({ uri, diagnostics: [] });
    });
  }

  private reading(): void {
    const { connection } = this;
    connection.onCompletion(({ textDocument, position }) => {
      const open = this.open(textDocument.uri);
      if (!open) return [];
      return open.analysis
        .complete(open.document.offsetAt(position))
        .map((item) => this.completion(open.document, item));
    });
    connection.onHover(({ textDocument, position }) => {
      const open = this.open(textDocument.uri);
      const hover = open?.analysis.hover(open.document.offsetAt(position));
      if (!open || !hover) return null;
      return { contents: { kind: MarkupKind.Markdown, value: hover.markdown }, range: rangeIn(open.document, hover) };
    });
    connection.onDefinition(({ textDocument, position }): LocationLink[] => {
      const open = this.open(textDocument.uri);
      if (!open) return [];
      const offset = open.document.offsetAt(position);
      const linked = open.analysis.linkedFile(offset);
      if (linked !== undefined)
        return [{ targetUri: pathToFileURL(linked).href, targetRange: top, targetSelectionRange: top }];
      const definition = open.analysis.occurrences(offset)?.definition;
      if (!definition) return [];
      const range = rangeIn(open.document, definition);
      return [{ targetUri: textDocument.uri, targetRange: range, targetSelectionRange: range }];
    });
    connection.onReferences(({ textDocument, position }) =>
      this.places(textDocument.uri, position).map((range) => ({ uri: textDocument.uri, range })),
    );
    connection.onDocumentHighlight(({ textDocument, position }) =>
      this.places(textDocument.uri, position).map((range) => ({ range })),
    );
    connection.onDocumentSymbol(({ textDocument }) => {
      const open = this.open(textDocument.uri);
      return open ? open.analysis.outline().map((item) => symbol(open.document, item)) : [];
    });
  }

  private changing(): void {
    const { connection } = this;
    connection.onPrepareRename(({ textDocument, position }) => {
      const open = this.open(textDocument.uri);
      const found = open?.analysis.occurrences(open.document.offsetAt(position));
      if (!open || !found || found.fixed !== undefined) return null;
      return { range: rangeIn(open.document, found.at), placeholder: found.name };
    });
    connection.onRenameRequest(({ textDocument, position, newName }) => {
      const open = this.open(textDocument.uri);
      const found = open?.analysis.occurrences(open.document.offsetAt(position));
      if (!open || !found) return null;
      const problem = found.fixed ?? found.refuses(newName);
      if (problem !== undefined) return new ResponseError(ErrorCodes.InvalidParams, problem);
      const edits = found.all.map((range) => ({ range: rangeIn(open.document, range), newText: newName }));
      return { changes: { [textDocument.uri]: edits } };
    });
    connection.onDocumentFormatting(({ textDocument }): TextEdit[] | null => {
      const open = this.open(textDocument.uri);
      const text = open?.analysis.formatted();
      if (!open || text === undefined) return null;
      const old = open.document.getText();
      return text === old ? [] : [{ range: rangeIn(open.document, { start: 0, end: old.length }), newText: text }];
    });
    connection.onCodeAction(({ textDocument, range }): CodeAction[] => {
      const open = this.open(textDocument.uri);
      if (!open) return [];
      const { document, analysis } = open;
      const wanted = { start: document.offsetAt(range.start), end: document.offsetAt(range.end) };
      return analysis.fixes(wanted).map(({ title, diagnostic, edit }) => ({
        title,
        kind: CodeActionKind.QuickFix,
        diagnostics: [protocolDiagnostic(document, diagnostic)],
        edit: { changes: { [textDocument.uri]: [textEdit(document, edit)] } },
      }));
    });
  }

  private testing(): void {
    const { connection, documents } = this;
    connection.onCodeLens(({ textDocument: { uri } }) => {
      const document = documents.get(uri);
      const path = pathOf(uri);
      return document && path !== undefined ? testLenses(document, path, this.debugsTests) : [];
    });
    connection.onExecuteCommand(({ command, arguments: args = [] }) => {
      const [uri, name] = args as unknown[];
      const path = typeof uri === "string" ? pathOf(uri) : undefined;
      if (command !== runCommand || path === undefined || !isTestFile(path))
        return new ResponseError(ErrorCodes.InvalidParams, `${command} needs the address of a test file`);
      return this.runTests(uri as string, path, typeof name === "string" ? name : undefined);
    });
    connection.languages.inlayHint.on(({ textDocument: { uri } }) => {
      const document = documents.get(uri);
      const path = pathOf(uri);
      if (!this.hits || !document || path === undefined || !path.endsWith(".script")) return [];
      const { version } = document;
      return this.hits.of(document, path, () => documents.get(uri)?.version !== version);
    });
  }

  private async runTests(uri: string, path: string, name: string | undefined) {
    const { connection, documents } = this;
    const read = (wanted: string): Uint8Array => {
      const open = documents.get(pathToFileURL(wanted).href);
      return open ? Buffer.from(open.getText()) : readFileSync(wanted);
    };
    let outcome: TestOutcome;
    try {
      outcome = await runInEditor(path, name, read);
    } catch (error) {
      return new ResponseError(LSPErrorCodes.RequestFailed, error instanceof Error ? error.message : String(error));
    }
    const { passed, failed, results, diagnostics } = outcome;
    this.testFailures.set(uri, diagnostics);
    this.publish(uri);
    const told = `${basename(path)}${name === undefined ? "" : `, ${name}`}: ${passed} passed, ${failed} failed`;
    const type = failed > 0 ? MessageType.Error : MessageType.Info;
    void connection.sendNotification(ShowMessageNotification.type, { type, message: told });
    return { passed, failed, results };
  }

  private places(uri: string, position: ProtocolRange["start"]): ProtocolRange[] {
    const open = this.open(uri);
    const found = open?.analysis.occurrences(open.document.offsetAt(position));
    return open && found ? found.all.map((range) => rangeIn(open.document, range)) : [];
  }

  /** The newest version of a text with its analysis. */
  private open(uri: string): { document: TextDocument; analysis: Analysis } | undefined {
    const document = this.documents.get(uri);
    if (!document) return undefined;
    const known = this.analyses.get(uri);
    if (known?.version === document.version) return { document, analysis: known.analysis };
    const ending = /\.(\w+)$/.exec(uri)?.[1]?.toLowerCase() ?? "";
    const analyse = languages[document.languageId.toLowerCase()] ?? languages[ending];
    if (!analyse) return undefined;
    const analysis = analyse(document.getText(), pathOf(uri), known?.analysis);
    this.analyses.set(uri, { version: document.version, analysis });
    return { document, analysis };
  }

  private announce(uri: string): void {
    if (this.pending.has(uri)) return;
    const run = (): void => {
      this.pending.delete(uri);
      this.publish(uri);
    };
    this.pending.set(uri, setTimeout(run, pauseMs));
  }

  /** What is wrong with the text, and which of its tests failed. */
  private publish(uri: string): void {
    const open = this.open(uri);
    const document = this.documents.get(uri);
    const failures = this.testFailures.get(uri) ?? [];
    try {
      const found = open?.analysis.diagnostics().map((item) => protocolDiagnostic(open.document, item)) ?? [];
      const version = document ? { version: document.version } : {};
      void this.connection.sendDiagnostics({ uri, ...version, diagnostics: [...found, ...failures] });
    } catch (error) {
      // A fault of the compiler must not take the editor's session with it; requests are guarded by the library.
      this.connection.console.error(`${uri}: ${error instanceof Error ? error.stack : String(error)}`);
    }
  }

  private completion(document: TextDocument, item: Completion): CompletionItem {
    const filled = item.snippet && !this.snippets ? undefined : item.insert;
    return {
      label: item.label,
      kind: item.kind,
      ...(item.detail ? { detail: item.detail } : {}),
      ...(item.doc ? { documentation: { kind: MarkupKind.Markdown, value: item.doc } } : {}),
      ...(item.snippet && this.snippets ? { insertTextFormat: InsertTextFormat.Snippet } : {}),
      textEdit: { range: rangeIn(document, item.replace), newText: filled ?? item.label },
      ...(item.also ? { additionalTextEdits: [textEdit(document, item.also)] } : {}),
    };
  }
}
