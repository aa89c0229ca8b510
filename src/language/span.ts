/** Source positions shared by both languages. Offsets are UTF-16 code units; line and column count from 1. */

export interface Position {
  offset: number;
  line: number;
  column: number;
}

/** Half-open range [start, end) in one file. */
export interface Span {
  file: string;
  start: Position;
  end: Position;
}

export const noSpan: Span = Object.freeze({
  file: "",
  start: { offset: 0, line: 0, column: 0 },
  end: { offset: 0, line: 0, column: 0 },
});
