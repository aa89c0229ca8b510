/**
 * A played session, or a Sieve script's run, as a line of steps that can be walked forward and backward. The session was played once, whole;
 * moving is looking at another step, so going back costs what going forward costs. Pure.
 */

/** Something that a rule did or found, at a place of the script. */
export interface Step {
  kind: "event" | "test" | "if" | "set" | "lookup" | "effect" | "export" | "stop" | "end";
  event: string;
  /** Number of the event in the session: one event can run several times. */
  occurrence: number;
  line: number;
  column: number;
  endLine: number;
  endColumn: number;
  /** Method or named rule around it; "" directly in the event. */
  rule: string;
  /** What happened, for people: "is (mailFrom, …) is false". */
  detail: string;
  /** Variables that have another value from here on. */
  changes: ReadonlyArray<readonly [name: string, value: string]>;
  /** It refuses the message, for good or for now, or throws it away. */
  refusal?: true;
  /** Path of the text, when it is another than the program's. */
  file?: string;
}

export interface Recording {
  /** Path of the script. */
  program: string;
  steps: readonly Step[];
  /** Lines with a statement or test, ascending: where a breakpoint can be. */
  lines: readonly number[];
  /** What the client of the session read, a line each. */
  transcript: readonly string[];
}

/** A stop at which conditions hold. */
export type Stops = (step: Step) => boolean;

export class Timeline {
  readonly recording: Recording;
  private at = 0;

  constructor(recording: Recording) {
    this.recording = recording;
  }

  get current(): Step | undefined {
    return this.recording.steps[this.at];
  }

  /** Goes to the next step (`by` 1) or the one before (-1) that `stops` accepts; false at an end, without moving. */
  go(by: 1 | -1, stops: Stops): boolean {
    const { steps } = this.recording;
    for (let i = this.at + by; i >= 0 && i < steps.length; i += by) {
      if (!stops(steps[i]!)) continue;
      this.at = i;
      return true;
    }
    return false;
  }

  toStart(): void {
    this.at = 0;
  }

  /** Another line than this one, or another event. */
  get elsewhere(): Stops {
    const from = this.current;
    return (step) => step.line !== from?.line || step.occurrence !== from.occurrence;
  }

  /** Out of the method at hand. */
  get outside(): Stops {
    const from = this.current;
    return (step) => step.rule !== from?.rule || step.occurrence !== from.occurrence;
  }

  /** Values after the current step, by name; the last spelling counts. */
  values(): Map<string, string> {
    const known = new Map<string, { name: string; value: string }>();
    for (let i = 0; i <= this.at; i++) {
      for (const [name, value] of this.recording.steps[i]?.changes ?? [])
        known.set(name.toLowerCase(), { name, value });
    }
    return new Map([...known.values()].map(({ name, value }) => [name, value]));
  }

  /** The first step of the event at hand. */
  eventStart(): Step | undefined {
    const { steps } = this.recording;
    for (let i = this.at; i >= 0; i--) if (steps[i]?.kind === "event") return steps[i];
    return undefined;
  }

  /** What statements and checks of the event at hand have set up to now. */
  changedInEvent(): Map<string, string> {
    const changed = new Map<string, string>();
    for (let i = this.at; i >= 0 && this.recording.steps[i]!.kind !== "event"; i--) {
      for (const [name, value] of this.recording.steps[i]!.changes) if (!changed.has(name)) changed.set(name, value);
    }
    return changed;
  }
}
