/**
 * Sessions that wait for processing's word on their message (smtpfilters.md §7.4).
 * Invariants: a verdict that comes before its session asks is kept for a moment, so that the order of the two does not
 * matter; at most `kept` of them. Failure: none; a verdict that does not come in time is undefined.
 */
import type { Outcome } from "../message/outcome.ts";

const kept = 1_000;

export class Verdicts {
  readonly #waiting = new Map<string, (verdict: Outcome) => void>();
  readonly #early = new Map<string, Outcome>();

  /** Processing has answered; true when a session will tell its client of a refusal. */
  settled(id: string, verdict: Outcome): boolean {
    const tell = this.#waiting.get(id);
    if (tell) {
      tell(verdict);
      return verdict.code >= 500;
    }
    if (this.#early.size >= kept) this.#early.delete(this.#early.keys().next().value!);
    this.#early.set(id, verdict);
    return false;
  }

  /** The verdict on message `id`, or undefined after `timeoutMs`. */
  within(id: string, timeoutMs: number): Promise<Outcome | undefined> {
    const early = this.#early.get(id);
    if (early) {
      this.#early.delete(id);
      // A refusal is on its way to the sender as a report already: here the message counts as taken.
      return Promise.resolve(early.code >= 400 ? undefined : early);
    }
    return new Promise((resolve) => {
      const finish = (verdict: Outcome | undefined): void => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        resolve(verdict);
      };
      const timer = setTimeout(() => finish(undefined), timeoutMs);
      this.#waiting.set(id, finish);
    });
  }
}
