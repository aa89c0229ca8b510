/** Mutations of inputs, from a seeded generator: the same seed gives the same inputs. */

export type Random = (below: number) => number;

/** A generator of integers (xorshift32). */
export function random(seed: number): Random {
  let state = seed | 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const oddOctets = Buffer.from("\0\t\r\n \"'()*,-./:;<=>?@[\\]{}\x7f\x80\xc0\xff", "latin1");

/** One to six changes of `input`; a change may take a piece of `other` or a word of the dictionary. */
export function mutate(input: Buffer, other: Buffer, words: readonly string[], maxBytes: number, pick: Random): Buffer {
  let bytes = input;
  for (let changes = 1 + pick(6); changes > 0; changes--) bytes = change(bytes, other, words, pick);
  return bytes.subarray(0, maxBytes);
}

function change(bytes: Buffer, other: Buffer, words: readonly string[], pick: Random): Buffer {
  const at = pick(bytes.length + 1);
  const length = pick(Math.min(bytes.length - at, 32) + 1);
  switch (pick(8)) {
    case 0: // flip a bit
      return replaced(bytes, at, Math.min(1, bytes.length - at), Buffer.from([(bytes[at] ?? 0) ^ (1 << pick(8))]));
    case 1:
      return replaced(bytes, at, 0, oddOctets.subarray(pick(oddOctets.length)).subarray(0, 1));
    case 2:
      return replaced(bytes, at, length, Buffer.alloc(0));
    case 3: // repeat a piece, sometimes many times
      return replaced(
        bytes,
        at,
        0,
        Buffer.concat(Array(1 + pick(pick(4) === 0 ? 64 : 3)).fill(bytes.subarray(at, at + length))),
      );
    case 4: {
      const from = pick(other.length + 1);
      return replaced(bytes, at, length, other.subarray(from, from + pick(64)));
    }
    case 5: // a number, small or at a border
      return replaced(
        bytes,
        at,
        length,
        Buffer.from(String([0, -1, 255, 65_536, 2 ** 31, 2 ** 53, pick(1_000)][pick(7)])),
      );
    case 6:
      return replaced(bytes, at, 1, Buffer.from([pick(256)]));
    default:
      return replaced(bytes, at, pick(2) === 0 ? 0 : length, Buffer.from(words[pick(words.length)] ?? "", "latin1"));
  }
}

function replaced(bytes: Buffer, at: number, length: number, by: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), by, bytes.subarray(at + length)]);
}
