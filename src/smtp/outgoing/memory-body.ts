/** A message body that was made in memory, as the queue's BodySource. */
import type { BodySource } from "../../queue/types.ts";

export function inMemoryBody(bytes: Buffer): BodySource {
  return {
    size: bytes.length,
    inMemory: () => bytes,
    async *stream() {
      yield bytes;
    },
  };
}
