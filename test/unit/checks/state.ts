/** SharedState in memory with a clock of its own. */
import type { SharedState } from "../../../src/state/types.ts";

export interface MemoryState extends SharedState {
  now: number;
  broken: boolean;
}

export function memoryState(): MemoryState {
  const values = new Map<string, { value: string; expires: number }>();
  const hits = new Map<string, Array<{ at: number; amount: number }>>();
  const id = (namespace: string, key: string) => `${namespace}\0${key}`;
  const guard = () => {
    if (state.broken) throw new Error("the database is gone");
  };
  const state: MemoryState = {
    now: 0,
    broken: false,
    async get(namespace, key) {
      guard();
      const held = values.get(id(namespace, key));
      return held !== undefined && held.expires > state.now ? held.value : undefined;
    },
    async set(namespace, key, value, ttlMs) {
      guard();
      values.set(id(namespace, key), { value, expires: state.now + ttlMs });
    },
    async delete(namespace, key) {
      guard();
      values.delete(id(namespace, key));
    },
    async increment(namespace, key, amount, windowMs) {
      guard();
      const kept = (hits.get(id(namespace, key)) ?? []).filter(({ at }) => at > state.now - windowMs);
      kept.push({ at: state.now, amount });
      hits.set(id(namespace, key), kept);
      return kept.reduce((sum, hit) => sum + hit.amount, 0);
    },
    async add(namespace, key, value, ttlMs) {
      if ((await state.get(namespace, key)) !== undefined) return false;
      await state.set(namespace, key, value, ttlMs);
      return true;
    },
    async close() {},
  };
  return state;
}
