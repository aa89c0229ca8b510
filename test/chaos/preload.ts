/**
 * Faults inside of the gateway's processes (preload.c): a disk that answers EIO, a wall clock that jumps. Built with the
 * system's C compiler; where there is none, undefined, and the faults that need it say that they were left out.
 */
import { spawnSync } from "node:child_process";
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";

export class Preload {
  /** Words that run the program named after them with the faults loaded. */
  readonly words: readonly string[];
  readonly #control: number;

  private constructor(words: readonly string[], control: number) {
    this.words = words;
    this.#control = control;
  }

  /** @param data the folder whose disk breaks, absolute */
  static build(folder: string, data: string): Preload | undefined {
    const library = join(folder, "preload.so");
    const source = join(import.meta.dirname, "preload.c");
    if (spawnSync("cc", ["-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]).status !== 0) return undefined;
    const control = join(folder, "control");
    writeFileSync(control, Buffer.alloc(8));
    const words = ["env", `LD_PRELOAD=${library}`, `CHAOS_CONTROL=${control}`, `CHAOS_DATA=${data}`];
    return new Preload(words, openSync(control, "r+"));
  }

  /** Writes and syncs of the data fail with EIO from now on, or work again. */
  breakDisk(broken: boolean): void {
    this.#set(0, broken ? 1 : 0);
  }

  /** The wall clock is so many seconds off. */
  moveClock(seconds: number): void {
    this.#set(4, seconds);
  }

  close(): void {
    closeSync(this.#control);
  }

  #set(at: number, value: number): void {
    const octets = Buffer.alloc(4);
    octets.writeInt32LE(value);
    writeSync(this.#control, octets, 0, 4, at);
  }
}
