/**
 * Slots of one event while it is lowered: the frames of the script's own variables (smtpfilters.md §10), and slots that
 * the whole program shares for exported values and numbered country lists. Names are compared without case.
 */
import type { SlotInfo } from "../language/ir.ts";

/** Slots of the program that events share. */
export interface ProgramSlots {
  slots: SlotInfo[];
  /** Exported values, by name in lower case. */
  exports: Map<string, number>;
  /** Numbered country lists, by canonical name. */
  countryLists: Map<string, number>;
}

export class Scope {
  /** Slots to empty before the event runs. */
  readonly locals: number[] = [];
  private readonly program: ProgramSlots;
  /** Own variables of the blocks being expanded, innermost last. */
  private readonly frames: Array<Map<string, number>> = [];

  constructor(program: ProgramSlots) {
    this.program = program;
  }

  /** Runs `work` inside a new frame. */
  framed<T>(work: () => T): T {
    this.frames.push(new Map());
    const result = work();
    this.frames.pop();
    return result;
  }

  /** A slot of the compiler's own. */
  temporary(name: string): number {
    return this.add(name, "temp");
  }

  /** Slot of an own variable that some frame around here holds. */
  find(name: string): number | undefined {
    const key = name.toLowerCase();
    for (let i = this.frames.length - 1; i >= 0; i--) {
      const slot = this.frames[i]!.get(key);
      if (slot !== undefined) return slot;
    }
    return undefined;
  }

  /** The slot that setting an own variable writes: the one found, or a new one in the innermost frame. */
  declare(name: string): number {
    const found = this.find(name);
    if (found !== undefined) return found;
    const slot = this.add(name, "custom");
    this.frames.at(-1)!.set(name.toLowerCase(), slot);
    return slot;
  }

  exported(name: string): number {
    return this.shared(this.program.exports, name.toLowerCase(), name, "custom");
  }

  countryList(name: string): number {
    return this.shared(this.program.countryLists, name, name, "engine");
  }

  private add(name: string, kind: SlotInfo["kind"]): number {
    const slot = this.program.slots.push({ name, kind }) - 1;
    this.locals.push(slot);
    return slot;
  }

  private shared(known: Map<string, number>, key: string, name: string, kind: SlotInfo["kind"]): number {
    let slot = known.get(key);
    if (slot === undefined) {
      slot = this.program.slots.push({ name, kind }) - 1;
      known.set(key, slot);
    }
    return slot;
  }
}
