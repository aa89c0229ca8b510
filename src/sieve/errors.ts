/** Why a script stopped: every way a run can end early, as types. The caller keeps the message (RFC 5228 §2.10.6). */
import type { Span } from "../language/span.ts";

/** The script asked for something that can't be done: its run ends, the message is kept, the reason is shown. */
export class SieveRuntimeError extends Error {
  readonly span: Span | undefined;
  constructor(message: string, span?: Span) {
    super(message);
    this.name = "SieveRuntimeError";
    this.span = span;
  }
}
