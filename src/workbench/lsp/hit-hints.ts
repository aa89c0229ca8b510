/**
 * Hints beside the rules of a script: how many of the gateway's recorded transactions would take each, under the text as
 * it stands in the editor. Records are read again when they are older than some seconds.
 * Failure: without records, or for a text that does not compile, there are no hints.
 */
import type { InlayHint } from "vscode-languageserver/node";
import type { TextDocument } from "vscode-languageserver-textdocument";
import { budgetDefaults } from "../../config/budget.ts";
import { compileLoaded, type LoadedPolicy } from "../play/loaded.ts";
import { newestRecords } from "../record/read.ts";
import type { DecisionRecord } from "../record/types.ts";
import { hitsOf } from "../replay/hits.ts";

const freshMs = 10_000;

export class HitHints {
  readonly #dir: string;
  #records: Promise<readonly DecisionRecord[]> | undefined;
  #readAt = 0;

  /** `dir`: the folder of the records. */
  constructor(dir: string) {
    this.#dir = dir;
  }

  /** `stale`: nobody waits for hints of this version any more. */
  async of(document: TextDocument, path: string, stale: () => boolean): Promise<InlayHint[]> {
    const records = await this.#read();
    if (records.length === 0 || stale()) return [];
    let loaded: LoadedPolicy;
    try {
      loaded = compileLoaded(Buffer.from(document.getText()), path);
    } catch {
      return []; // its diagnostics say why
    }
    const hits = await hitsOf(loaded, records, stale);
    if (!hits) return [];
    const about = `of ${records.length} recorded transactions, decided under this text`;
    const note = hits.missing.size > 0 ? ` (not in the records: ${[...hits.missing].slice(0, 5).join(", ")})` : "";
    return [...hits.taken].map(([offset, count]) => ({
      position: endOfLine(document, offset),
      label: count === 0 ? "never" : `${count}×`,
      tooltip: `taken by ${count} ${about}${note}`,
      paddingLeft: true,
    }));
  }

  #read(): Promise<readonly DecisionRecord[]> {
    if (this.#records && Date.now() - this.#readAt < freshMs) return this.#records;
    this.#readAt = Date.now();
    // A gateway that never recorded has no such folder.
    this.#records = newestRecords(this.#dir, budgetDefaults.editorRecords).catch(() => []);
    return this.#records;
  }
}

function endOfLine(document: TextDocument, offset: number): InlayHint["position"] {
  const { line } = document.positionAt(offset);
  const text = document.getText({ start: { line, character: 0 }, end: { line: line + 1, character: 0 } });
  return { line, character: text.replace(/[\r\n]+$/, "").length };
}
