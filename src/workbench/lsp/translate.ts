/** From the words of an analysis to those of the protocol: places, diagnostics, outline. Pure. */
import { fileURLToPath } from "node:url";
import {
  DiagnosticSeverity,
  type DocumentSymbol,
  type Diagnostic as ProtocolDiagnostic,
  type Range as ProtocolRange,
  type TextEdit,
} from "vscode-languageserver/node";
import type { TextDocument } from "vscode-languageserver-textdocument";
import type { Diagnostic, Severity } from "../../language/diagnostic.ts";
import type { Edit, OutlineItem, Range } from "./language.ts";

const severities: Readonly<Record<Severity, DiagnosticSeverity>> = {
  error: DiagnosticSeverity.Error,
  warning: DiagnosticSeverity.Warning,
  info: DiagnosticSeverity.Information,
};

export const top: ProtocolRange = { start: { line: 0, character: 0 }, end: { line: 0, character: 0 } };

export const rangeIn = (document: TextDocument, { start, end }: Range): ProtocolRange => ({
  start: document.positionAt(start),
  end: document.positionAt(end),
});

export const textEdit = (document: TextDocument, edit: Edit): TextEdit => ({
  range: rangeIn(document, edit),
  newText: edit.text,
});

export function protocolDiagnostic(document: TextDocument, diagnostic: Diagnostic): ProtocolDiagnostic {
  const { severity, code, message, hint, span } = diagnostic;
  return {
    severity: severities[severity],
    code,
    source: "postern",
    message: hint ? `${message}\n${hint}` : message,
    range: rangeIn(document, { start: span.start.offset, end: span.end.offset }),
  };
}

export function symbol(document: TextDocument, item: OutlineItem): DocumentSymbol {
  return {
    name: item.name,
    kind: item.kind,
    ...(item.detail ? { detail: item.detail } : {}),
    range: rangeIn(document, item),
    selectionRange: rangeIn(document, item.title),
    children: item.children.map((child) => symbol(document, child)),
  };
}

/** Path of a file; undefined for a text that lies elsewhere. */
export function pathOf(uri: string): string | undefined {
  if (!uri.startsWith("file:")) return undefined;
  try {
    return fileURLToPath(uri);
  } catch {
    return undefined; // a file of another machine or system
  }
}
