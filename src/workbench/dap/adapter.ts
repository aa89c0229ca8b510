/**
 * The debugger (Debug Adapter Protocol): steps through a played session or Sieve script forward and backward, shows what each rule saw
 * and set, stops at breakpoints. The session is played once when launched; everything after is reading.
 * Failure: a request that can't be answered gets an error response; bytes that are no message end the session.
 */
import { basename } from "node:path";
import type { DebugProtocol as Dap } from "@vscode/debugprotocol";
import { Framing, framed, ProtocolError } from "./connection.ts";
import { type Recording, type Step, type Stops, Timeline } from "./timeline.ts";

/** Plays what the arguments of `launch` name; throws an Error that says what is wrong with them. */
export type Play = (launch: unknown) => Promise<Recording>;

/** Serves one editor; resolves when it disconnects or its input ends. */
export async function debug(input: AsyncIterable<Uint8Array>, write: (text: string) => void, play: Play) {
  const adapter = new Adapter(write, play);
  const framing = new Framing();
  for await (const bytes of input) {
    let requests: Dap.Request[];
    try {
      requests = framing.push(bytes);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      adapter.output(`postern dap: ${error.message}`, "stderr");
      return;
    }
    for (const request of requests) {
      await adapter.handle(request);
      if (adapter.ended) return;
    }
  }
}

const threadId = 1;
const scopes = { step: 1, changed: 2, all: 3 } as const;

const filters = [
  { filter: "events", label: "Each event or script" },
  { filter: "refusals", label: "Refusals (reject, tmpreject; in Sieve reject, ereject, discard)" },
] as const;

class RequestError extends Error {}

export class Adapter {
  ended = false;
  private readonly write: (text: string) => void;
  private readonly play: Play;
  private seq = 0;
  private program = "";
  private timeline: Timeline | undefined;
  private stopOnEntry = true;
  private readonly breakpoints = new Set<number>();
  private filters: ReadonlySet<string> = new Set();
  private over = false;

  constructor(write: (text: string) => void, play: Play) {
    this.write = write;
    this.play = play;
  }

  async handle(request: Dap.Request): Promise<void> {
    const { seq, command } = request;
    const answer = { type: "response", request_seq: seq, command } as const;
    try {
      const handler = Object.hasOwn(this.handlers, command) ? this.handlers[command] : undefined;
      if (!handler) throw new RequestError(`${command} is not supported`);
      const body = await handler((request.arguments ?? {}) as never);
      this.send({ ...answer, success: true, ...(body ? { body } : {}) });
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.send({ ...answer, success: false, message: error.message });
    }
    this.afterwards(command);
  }

  output(text: string, category: "console" | "stderr" = "console"): void {
    this.event("output", { category, output: `${text}\n` });
  }

  private send(message: object): void {
    this.write(framed({ seq: ++this.seq, ...message }));
  }

  private event(event: string, body?: object): void {
    this.send({ type: "event", event, ...(body ? { body } : {}) });
  }

  /** Events that follow the response. */
  private afterwards(command: string): void {
    if (command === "launch" && this.timeline) this.event("initialized");
    if (command === "configurationDone" && this.timeline) {
      if (this.stopOnEntry || this.reasonFor(this.timeline.current)) this.stopped("entry");
      else this.run(1, this.stops);
    }
    if (command === "disconnect" || command === "terminate") {
      if (command === "terminate") this.event("terminated");
      else this.ended = true;
    }
  }

  private readonly handlers: { [command: string]: (args: never) => object | undefined | Promise<undefined> } = {
    initialize: (): Dap.Capabilities => ({
      supportsConfigurationDoneRequest: true,
      supportsStepBack: true,
      supportsRestartRequest: true,
      supportsEvaluateForHovers: true,
      supportsTerminateRequest: true,
      exceptionBreakpointFilters: [...filters],
    }),
    launch: (args: { stopOnEntry?: unknown }) => this.launch(args),
    configurationDone: () => undefined,
    disconnect: () => undefined,
    terminate: () => undefined,
    restart: () => {
      this.required.toStart();
      this.over = false;
      this.stopped("entry");
      return undefined;
    },
    setBreakpoints: (args: Dap.SetBreakpointsArguments) => ({ breakpoints: this.setBreakpoints(args) }),
    setExceptionBreakpoints: (args: Dap.SetExceptionBreakpointsArguments) => {
      this.filters = new Set(args.filters);
      return undefined;
    },
    threads: () => ({ threads: [{ id: threadId, name: "session" }] }),
    stackTrace: () => this.stackTrace(),
    scopes: () => ({
      scopes: [
        { name: "This step", variablesReference: scopes.step, expensive: false },
        { name: "Set in this event", variablesReference: scopes.changed, expensive: false },
        { name: "Variables", variablesReference: scopes.all, expensive: false },
      ],
    }),
    variables: (args: Dap.VariablesArguments) => ({ variables: this.variables(args.variablesReference) }),
    evaluate: (args: Dap.EvaluateArguments) => ({ result: this.evaluate(args.expression), variablesReference: 0 }),
    continue: () => {
      this.run(1, this.stops);
      return { allThreadsContinued: true };
    },
    reverseContinue: () => this.run(-1, this.stops),
    next: () => this.step(1, this.required.elsewhere),
    stepBack: () => this.step(-1, this.required.elsewhere),
    stepIn: () => this.step(1, () => true),
    stepOut: () => this.step(1, this.required.outside),
  };

  private get required(): Timeline {
    if (!this.timeline) throw new RequestError("nothing was launched");
    return this.timeline;
  }

  private async launch(args: { stopOnEntry?: unknown }): Promise<undefined> {
    this.stopOnEntry = args.stopOnEntry !== false;
    const recording = await this.play(args);
    if (recording.steps.length === 0) throw new RequestError("no event of this script runs in this session");
    this.program = recording.program;
    this.timeline = new Timeline(recording);
    for (const line of recording.transcript) this.output(line);
    return undefined;
  }

  /** A breakpoint goes to the next line that holds a statement. */
  private setBreakpoints({ source, breakpoints = [] }: Dap.SetBreakpointsArguments): Dap.Breakpoint[] {
    const { lines } = this.required.recording;
    if (basename(source.path ?? "") !== basename(this.program)) return breakpoints.map(() => ({ verified: false }));
    this.breakpoints.clear();
    return breakpoints.map(({ line: wanted }) => {
      const line = lines.find((candidate) => candidate >= wanted);
      if (line === undefined) return { verified: false, line: wanted };
      this.breakpoints.add(line);
      return { verified: true, line };
    });
  }

  private readonly stops: Stops = (step) => this.reasonFor(step) !== undefined;

  private reasonFor(step: Step | undefined): "breakpoint" | "exception" | undefined {
    if (!step) return undefined;
    if (this.filters.has("events") && step.kind === "event") return "exception";
    if (this.filters.has("refusals") && step.refusal) return "exception";
    const here = this.breakpoints.has(step.line) && step.file === undefined && step.kind !== "end";
    return here ? "breakpoint" : undefined;
  }

  private run(by: 1 | -1, wanted: Stops): undefined {
    const timeline = this.required;
    // One stop a line, as other debuggers do: not at each test of it.
    const { elsewhere } = timeline;
    if (timeline.go(by, (step) => wanted(step) && elsewhere(step)))
      this.stopped(this.reasonFor(timeline.current) ?? "step");
    else this.atEnd(by);
    return undefined;
  }

  private step(by: 1 | -1, wanted: Stops): undefined {
    if (this.required.go(by, wanted)) this.stopped("step");
    else this.atEnd(by);
    return undefined;
  }

  private atEnd(by: 1 | -1): void {
    if (by === -1) {
      this.required.toStart();
      this.stopped("entry");
    } else if (!this.over) {
      this.over = true;
      this.event("terminated");
    }
  }

  private stopped(reason: string): void {
    const description = this.timeline?.current?.detail;
    this.event("stopped", { reason, threadId, allThreadsStopped: true, ...(description ? { description } : {}) });
  }

  private stackTrace(): { stackFrames: Dap.StackFrame[]; totalFrames: number } {
    const step = this.required.current!;
    const frame = (id: number, name: string, { line, column, endLine, endColumn, file }: Step): Dap.StackFrame => ({
      id,
      name,
      source: { name: basename(file ?? this.program), path: file ?? this.program },
      line,
      column,
      endLine,
      endColumn,
    });
    const start = this.required.eventStart();
    const frames = [frame(1, step.rule || step.event, step)];
    if (step.rule && start) frames.push(frame(2, step.event, start));
    return { stackFrames: frames, totalFrames: frames.length };
  }

  private variables(reference: number): Dap.Variable[] {
    const step = this.required.current!;
    const variable = ([name, value]: readonly [string, string]): Dap.Variable => ({
      name,
      value: quoted(value),
      variablesReference: 0,
    });
    if (reference === scopes.step) {
      const happened = { name: step.kind, value: step.detail, variablesReference: 0 };
      return [happened, ...step.changes.map(variable)];
    }
    if (reference === scopes.changed) return [...this.required.changedInEvent()].map(variable);
    if (reference !== scopes.all) return [];
    return [...this.required.values()].sort(([a], [b]) => a.localeCompare(b)).map(variable);
  }

  /** A variable's name, with or without the percent signs of a text. */
  private evaluate(expression: string): string {
    const name = expression.trim().replace(/^%(.*)%$/, "$1");
    if (!/^\w+$/.test(name)) throw new RequestError("give the name of a variable");
    for (const [known, value] of this.required.values()) {
      if (known.toLowerCase() === name.toLowerCase()) return quoted(value);
    }
    return quoted("");
  }
}

const quoted = (value: string): string => JSON.stringify(value);
