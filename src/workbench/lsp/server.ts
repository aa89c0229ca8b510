/**
 * The language server (Language Server Protocol 3.17) for smtpFilters and Sieve: protocol in, protocol out; what is
 * known of the languages is behind `Analysis`. Invariants: diagnostics belong to the newest version of a text, requests
 * are answered from the version they were asked for, and a text that was closed leaves nothing behind.
 * Failure: a request about a text that isn't open is answered with nothing.
 */
import { fileURLToPath, pathToFileURL } from "node:url";
import {
  type CodeAction,
  CodeActionKind,
  type CompletionItem,
  type Connection,
  createConnection,
  DiagnosticSeverity,
  type DocumentSymbol,
  ErrorCodes,
  InsertTextFormat,
  type LocationLink,
  MarkupKind,
  type Diagnostic as ProtocolDiagnostic,
  type Range as ProtocolRange,
  ResponseError,
  StreamMessageReader,
  StreamMessageWriter,
  TextDocumentSyncKind,
  TextDocuments,
  type TextEdit,
} from "vscode-languageserver/node";
import { TextDocument } from "vscode-languageserver-textdocument";
import type { Diagnostic, Severity } from "../../language/diagnostic.ts";
import type { Analyse, Analysis, Completion, Edit, OutlineItem, Range } from "./language.ts";
import { analysePolicyText } from "./policy/analysis.ts";
import { analyseSieveText } from "./sieve/analysis.ts";

/** By the ending of the file's name, and by the editor's name for the language. */
const languages: Readonly<Record<string, Analyse>> = {
  script: analysePolicyText,
  smtpfilters: analysePolicyText,
  sieve: analyseSieveText,
};

const severities: Readonly<Record<Severity, DiagnosticSeverity>> = {
  error: DiagnosticSeverity.Error,
  warning: DiagnosticSeverity.Warning,
  info: DiagnosticSeverity.Information,
};

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
  private snippets = false;

  constructor(connection: Connection) {
    this.connection = connection;
    this.lifecycle();
    this.reading();
    this.changing();
    this.documents.listen(connection);
  }

  private lifecycle(): void {
    const { connection, documents } = this;
    connection.onInitialize(({ capabilities }) => {
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
        },
      };
    });
    documents.onDidChangeContent(({ document }) => this.announce(document.uri));
    documents.onDidClose(({ document: { uri } }) => {
      clearTimeout(this.pending.get(uri));
      this.pending.delete(uri);
      this.analyses.delete(uri);
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
      const open = this.open(uri);
      if (!open) return;
      const { document, analysis } = open;
      try {
        const diagnostics = analysis.diagnostics().map((item) => protocolDiagnostic(document, item));
        void this.connection.sendDiagnostics({ uri, version: document.version, diagnostics });
      } catch (error) {
        // A fault of the compiler must not take the editor's session with it; requests are guarded by the library.
        this.connection.console.error(`${uri}: ${error instanceof Error ? error.stack : String(error)}`);
      }
    };
    this.pending.set(uri, setTimeout(run, pauseMs));
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

const top: ProtocolRange = { start: { line: 0, character: 0 }, end: { line: 0, character: 0 } };

const rangeIn = (document: TextDocument, { start, end }: Range): ProtocolRange => ({
  start: document.positionAt(start),
  end: document.positionAt(end),
});

const textEdit = (document: TextDocument, edit: Edit): TextEdit => ({
  range: rangeIn(document, edit),
  newText: edit.text,
});

function protocolDiagnostic(document: TextDocument, diagnostic: Diagnostic): ProtocolDiagnostic {
  const { severity, code, message, hint, span } = diagnostic;
  return {
    severity: severities[severity],
    code,
    source: "postern",
    message: hint ? `${message}\n${hint}` : message,
    range: rangeIn(document, { start: span.start.offset, end: span.end.offset }),
  };
}

function symbol(document: TextDocument, item: OutlineItem): DocumentSymbol {
  return {
    name: item.name,
    kind: item.kind,
    ...(item.detail ? { detail: item.detail } : {}),
    range: rangeIn(document, item),
    selectionRange: rangeIn(document, item.title),
    children: item.children.map((child) => symbol(document, child)),
  };
}

function pathOf(uri: string): string | undefined {
  if (!uri.startsWith("file:")) return undefined;
  try {
    return fileURLToPath(uri);
  } catch {
    return undefined; // a file of another machine or system
  }
}
