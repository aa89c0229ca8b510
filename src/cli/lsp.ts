/**
 * `postern lsp`: the language server of both policy languages, over standard input and output (docs/editors.md).
 * Exit codes: 0 the editor has gone, 1 it went without a word, 2 wrong usage.
 */
import { serve } from "../workbench/lsp/server.ts";
import type { Command } from "./command.ts";

const help = `Usage: postern lsp [--stdio]

Language server for .script and .sieve files over standard input and output:
diagnostics, completion, hover, definition, rename, outline, format, quick fixes.
An editor starts it; docs/editors.md says how.`;

export const command: Command = {
  name: "lsp",
  summary: "language server for editors",
  help,
  async run(argv, io) {
    // Editors add --stdio by custom; there is no other way.
    if (argv.some((word) => word !== "--stdio")) {
      io.err("postern lsp: takes no arguments\n");
      return 2;
    }
    await serve(process.stdin, process.stdout);
    // An editor that says `exit` never comes here: the library ends the process. One that went without a word leaves
    // the library's watch on its process id running, and nobody to write to.
    return process.exit(1);
  },
};
