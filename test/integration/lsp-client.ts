/** A client of the real language server over its standard input and output, for tests. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { resolve } from "node:path";
import {
  type CodeAction,
  type CompletionItem,
  createProtocolConnection,
  type Diagnostic,
  type Position,
  type ProtocolConnection,
  type PublishDiagnosticsParams,
  StreamMessageReader,
  StreamMessageWriter,
  type TextEdit,
} from "vscode-languageserver/node";
import { TextDocument } from "vscode-languageserver-textdocument";

const main = resolve(import.meta.dirname, "../../src/cli/main.ts");

export class LspClient {
  readonly child: ChildProcessWithoutNullStreams;
  readonly connection: ProtocolConnection;
  stderr = "";
  private readonly published = new Map<string, PublishDiagnosticsParams>();
  private wake: () => void = () => {};

  private constructor() {
    this.child = spawn(process.execPath, [main, "lsp", "--stdio"], { stdio: "pipe" });
    this.child.stderr.on("data", (data) => (this.stderr += data));
    this.connection = createProtocolConnection(
      new StreamMessageReader(this.child.stdout),
      new StreamMessageWriter(this.child.stdin),
    );
    this.connection.onNotification("textDocument/publishDiagnostics", (params: PublishDiagnosticsParams) => {
      this.published.set(params.uri, params);
      this.wake();
    });
    this.connection.listen();
  }

  /** `initializationOptions`: what an editor may say beside the protocol. */
  static async start(initializationOptions: object = {}): Promise<LspClient> {
    const client = new LspClient();
    await client.connection.sendRequest("initialize", {
      processId: process.pid,
      rootUri: null,
      initializationOptions,
      capabilities: { textDocument: { completion: { completionItem: { snippetSupport: false } } } },
    });
    await client.connection.sendNotification("initialized", {});
    return client;
  }

  /** Says goodbye by the book; answers the exit code. */
  async stop(): Promise<number | null> {
    const exited = new Promise<number | null>((done) => this.child.once("exit", done));
    await this.connection.sendRequest("shutdown");
    await this.connection.sendNotification("exit");
    return await exited;
  }

  async open(uri: string, text: string, languageId: string): Promise<OpenText> {
    const file = new OpenText(this, TextDocument.create(uri, languageId, 1, text));
    await this.connection.sendNotification("textDocument/didOpen", {
      textDocument: { uri, languageId, version: 1, text },
    });
    return file;
  }

  /** Diagnostics of this version, waiting for them. */
  async diagnostics(uri: string, version: number): Promise<Diagnostic[]> {
    return this.diagnosticsWhere(uri, (_, known) => known === version);
  }

  /** The first diagnostics of a text that are as wanted, waiting for them. */
  async diagnosticsWhere(
    uri: string,
    wanted: (diagnostics: Diagnostic[], version: number | undefined) => boolean,
  ): Promise<Diagnostic[]> {
    const deadline = Date.now() + 10_000;
    for (;;) {
      const known = this.published.get(uri);
      if (known && wanted(known.diagnostics, known.version)) return known.diagnostics;
      if (Date.now() > deadline) throw new Error(`no such diagnostics of ${uri}: ${this.stderr}`);
      await new Promise<void>((done) => {
        this.wake = done;
        setTimeout(done, 500).unref();
      });
    }
  }
}

/** A text open in the client; places in it are named by a piece of text and the offset in that piece. */
export class OpenText {
  document: TextDocument;
  private readonly client: LspClient;

  constructor(client: LspClient, document: TextDocument) {
    this.client = client;
    this.document = document;
  }

  get text(): string {
    return this.document.getText();
  }

  /** Position `offset` characters into the first occurrence of `piece`. */
  at(piece: string, offset = 0): Position {
    const found = this.text.indexOf(piece);
    if (found < 0) throw new Error(`"${piece}" is not in the text`);
    return this.document.positionAt(found + offset);
  }

  /** An incremental change: `piece` becomes `by`. */
  async replace(piece: string, by: string): Promise<void> {
    const start = this.at(piece);
    await this.edit({ start, end: this.at(piece, piece.length) }, by);
  }

  async edit(range: { start: Position; end: Position }, text: string): Promise<void> {
    const version = this.document.version + 1;
    const contentChanges = [{ range, text }];
    TextDocument.update(this.document, contentChanges, version);
    await this.client.connection.sendNotification("textDocument/didChange", {
      textDocument: { uri: this.document.uri, version },
      contentChanges,
    });
  }

  request<T>(method: string, params: object = {}): Promise<T> {
    return this.client.connection.sendRequest(method, { textDocument: { uri: this.document.uri }, ...params });
  }

  diagnostics(): Promise<Diagnostic[]> {
    return this.client.diagnostics(this.document.uri, this.document.version);
  }

  async codes(): Promise<unknown[]> {
    return (await this.diagnostics()).map(({ code }) => code);
  }

  async complete(piece: string, offset = piece.length): Promise<CompletionItem[]> {
    return this.request("textDocument/completion", { position: this.at(piece, offset) });
  }

  /** The text with these edits made. */
  edited(edits: TextEdit[]): string {
    return TextDocument.applyEdits(this.document, edits);
  }

  /** The quick fix of the first diagnostic with this code, applied. */
  async fixed(code: string): Promise<string> {
    const diagnostic = (await this.diagnostics()).find((item) => item.code === code);
    if (!diagnostic) throw new Error(`no diagnostic ${code}`);
    const actions = await this.request<CodeAction[]>("textDocument/codeAction", {
      range: diagnostic.range,
      context: { diagnostics: [diagnostic] },
    });
    const action = actions.find((item) => item.diagnostics?.[0]?.code === code);
    if (!action) throw new Error(`no fix for ${code}`);
    return this.edited(action.edit?.changes?.[this.document.uri] ?? []);
  }
}
