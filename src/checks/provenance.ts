/**
 * Where answers came from: a resolver that writes down each question, who answered it, and how long that took.
 * Invariant: at most `maxSources` lines are kept, the rest is counted; lines are printable. Failure: that of the inner
 * resolver, written down too.
 */
import { DnsError, type QueryOptions, type RecordType, type Resolver } from "../dns/types.ts";
import { printable } from "../message/outcome.ts";

const maxSources = 30;

export class NotedResolver implements Resolver {
  readonly #inner: Resolver;
  readonly #sources: string[] = [];
  #more = 0;

  constructor(inner: Resolver) {
    this.#inner = inner;
  }

  /** One line a question, in the order in which they were answered. */
  get sources(): readonly string[] {
    return this.#more === 0 ? this.#sources : [...this.#sources, `and ${this.#more} more questions`];
  }

  async resolve<T extends RecordType>(name: string, type: T, options?: QueryOptions) {
    const started = performance.now();
    try {
      const answer = await this.#inner.resolve(name, type, options);
      const found = answer.records.length > 0 ? "" : answer.nxdomain ? ", no such name" : ", no such record";
      this.#note(`${type} ${name}`, `from ${answer.source ?? "memory"}${found}`, started);
      return answer;
    } catch (error) {
      if (error instanceof DnsError) this.#note(`${type} ${name}`, `failed: ${error.kind}`, started);
      throw error;
    }
  }

  /** The inner resolver is somebody else's. */
  close(): void {}

  #note(question: string, how: string, started: number): void {
    if (this.#sources.length >= maxSources) this.#more += 1;
    else this.#sources.push(printable(`${question} ${how}, ${milliseconds(performance.now() - started)} ms`));
  }
}

/** With one decimal. */
export function milliseconds(value: number): number {
  return Math.round(value * 10) / 10;
}
