/**
 * Sieve :matches patterns (RFC 5228 §2.7.1): `*` any run of characters, `?` one character, backslash quotes the next.
 *
 * Matching splits the pattern at its stars and finds each piece as early as possible, which is also what RFC 5229 §3.2
 * asks of captures (each `*` takes as little as it can); there is no backtracking. Characters are code points.
 */

/** One piece between stars; `null` stands for a `?`. */
type Piece = readonly (string | null)[];

export interface Glob {
  /** The pieces between stars; n pieces mean n - 1 stars. */
  readonly pieces: readonly Piece[];
  /** The pattern's text when it holds no wildcard. */
  readonly literal: string | undefined;
}

export function parseGlob(pattern: string): Glob {
  const pieces: (string | null)[][] = [];
  let piece: (string | null)[] = [];
  let run = "";
  const endRun = (): void => {
    if (run !== "") piece.push(run);
    run = "";
  };
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i]!;
    if (char === "\\" && i + 1 < pattern.length) run += pattern[++i]!;
    else if (char === "*") {
      endRun();
      pieces.push(piece);
      piece = [];
    } else if (char === "?") {
      endRun();
      piece.push(null);
    } else run += char;
  }
  endRun();
  pieces.push(piece);
  const only = pieces.length === 1 ? pieces[0]! : undefined;
  const literal = only === undefined ? undefined : only.length === 0 ? "" : only.length === 1 ? only[0] : undefined;
  return { pieces, literal: literal ?? undefined };
}

/** The longest run of literal text that every match contains, or "". */
export function longestLiteral(glob: Glob): string {
  let best = "";
  for (const piece of glob.pieces) {
    for (const part of piece) if (part !== null && part.length > best.length) best = part;
  }
  return best;
}

/**
 * Matches the whole text; answers where each wildcard's text lies, as [start, end, start, end, ...] offsets, or
 * undefined. The pattern must be folded already when the text is.
 */
export function matchGlob(glob: Glob, text: string): number[] | undefined {
  const { pieces } = glob;
  const wild: number[] = [];
  const last = pieces.length - 1;
  let at = matchPiece(pieces[0]!, text, 0, wild);
  if (at < 0) return undefined;
  if (last === 0) return at === text.length ? wild : undefined;
  for (let i = 1; i < last; i++) {
    const slot = wild.push(at, at) - 1;
    const found = findPiece(pieces[i]!, text, at, wild);
    if (found < 0) return undefined;
    wild[slot] = foundStart;
    at = found;
  }
  const tail = pieces[last]!;
  const start = backUp(text, tail);
  if (start < at) return undefined;
  wild.push(at, start);
  return matchPiece(tail, text, start, wild) === text.length ? wild : undefined;
}

/** Matches one piece at `at`; answers the offset after it, or -1. Offsets of its `?` are appended to `wild`. */
function matchPiece(piece: Piece, text: string, at: number, wild: number[]): number {
  for (const part of piece) {
    if (part === null) {
      if (at >= text.length) return -1;
      const end = at + (text.codePointAt(at)! > 0xffff ? 2 : 1);
      wild.push(at, end);
      at = end;
    } else {
      if (!text.startsWith(part, at)) return -1;
      at += part.length;
    }
  }
  return at;
}

/** Start of the piece that findPiece found last; one value, read at once by its only caller. */
let foundStart = 0;

/** Finds the first place at or after `from` where the piece matches; answers the offset after it, or -1. */
function findPiece(piece: Piece, text: string, from: number, wild: number[]): number {
  const mark = wild.length;
  const first = piece[0];
  for (let at = from; at <= text.length; at++) {
    if (typeof first === "string") {
      at = text.indexOf(first, at);
      if (at < 0) return -1;
    }
    const end = matchPiece(piece, text, at, wild);
    if (end >= 0) {
      foundStart = at;
      return end;
    }
    wild.length = mark;
  }
  return -1;
}

/** Where the last piece must start to end at the end of the text, or -1. */
function backUp(text: string, piece: Piece): number {
  let at = text.length;
  for (let i = piece.length - 1; i >= 0; i--) {
    const part = piece[i]!;
    if (part !== null) at -= part.length;
    else at -= at >= 2 && text.codePointAt(at - 2)! > 0xffff ? 2 : 1;
    if (at < 0) return -1;
  }
  return at;
}
