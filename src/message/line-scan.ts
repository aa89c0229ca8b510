/**
 * The fast search for what ends or breaks a line: CR, LF or NUL. Shared by the receiver, which must see each one, and
 * the sender, which lets nothing else than CRLF out. Invariants: reads only `from` up to `to`. Failure: none.
 */

const nul = 0x00;
const lf = 0x0a;
const cr = 0x0d;

/** A view for `nextControl`; make one for each chunk. */
export function lineView(chunk: Uint8Array): DataView {
  return new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
}

/**
 * First index from `from` on with CR, LF or NUL, or `to`. Looks at sixteen octets a step: "has an octet below 14" is
 * the well-known (word - n·0x01010101) & ~word & 0x80808080, exact for n up to 128 when asked of the word as a whole.
 */
export function nextControl(chunk: Uint8Array, view: DataView, from: number, to: number): number {
  let i = from;
  for (;;) {
    while (i <= to - 16) {
      const a = view.getInt32(i, true);
      const b = view.getInt32(i + 4, true);
      const c = view.getInt32(i + 8, true);
      const d = view.getInt32(i + 12, true);
      const low = ((a - 0x0e0e0e0e) & ~a) | ((b - 0x0e0e0e0e) & ~b) | ((c - 0x0e0e0e0e) & ~c) | ((d - 0x0e0e0e0e) & ~d);
      if ((low & 0x80808080) !== 0) break;
      i += 16;
    }
    while (i <= to - 4) {
      const word = view.getInt32(i, true);
      if (((word - 0x0e0e0e0e) & ~word & 0x80808080) !== 0) break;
      i += 4;
    }
    const end = Math.min(i + 4, to);
    while (i < end) {
      const octet = chunk[i]!;
      if (octet === cr || octet === lf || octet === nul) return i;
      i++;
    }
    if (i >= to) return to;
  }
}
