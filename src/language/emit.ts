/**
 * IR to JavaScript: each entry point, routine and rule of a long block becomes a function over slots; entry points at
 * once, the others on first use.
 *
 * Author text reaches the source only as an index into a constant table (source.ts). Functions with the same source
 * share one compiled shape, so 100,000 rules of a few forms cost a few compilations. Long blocks, and runs that the
 * optimiser indexed, are tables of rules (rules.ts) instead of one long function.
 * Failure: as run.ts; a bad constant regex throws RegexError when the code that holds it is made.
 */
import { EffectsOf } from "./effects.ts";
import type { Block, IfStatement, Module, Statement, Subject } from "./ir.ts";
import { itemOf } from "./pack.ts";
import { ProbeIndex, type SubjectReader } from "./probe.ts";
import { RuleTable } from "./rules.ts";
import { type CompiledModule, drive, type RunLimits, RunState, stateLimits, type Unit } from "./run.ts";
import { atOnce } from "./slices.ts";
import { runtimeFor, type SourceContext, type UnitBody, writeUnit } from "./source.ts";
import { blocksOf, isSharedSubject, subjectKey, walkStatements, walkTests } from "./walk.ts";

type Loops = ReadonlyArray<string | undefined>;
type Run = Unit["run"];
type Indexed = Extract<Statement, { op: "indexed" }>;

export function emit(module: Module, limits: RunLimits): CompiledModule {
  return atOnce(emitting(module, limits));
}

/** The same, with a yield after each part of the work; few parts take long when the module is packed (pack.ts). */
export function* emitting(module: Module, limits: RunLimits): Generator<void, CompiledModule> {
  const emitter = new Emitter(module, limits);
  yield* emitter.prepare();
  const state = stateLimits(module, limits);
  const units = new Map<string, Unit>();
  for (const [entry, block] of Object.entries(module.entries)) {
    if (block.length > 0) units.set(entry, emitter.readyUnit({ block }));
    yield;
  }
  return {
    entries: Object.keys(module.entries),
    has: (entry) => units.has(entry),
    run(entry, slots, host) {
      const unit = units.get(entry);
      if (!unit) return;
      const running = unit.run(slots, host, new RunState(state));
      if (typeof running !== "number") return drive(running);
    },
  };
}

/** What the source writer needs to know of the module. */
class Emitter implements SourceContext {
  readonly limits: RunLimits;
  readonly effects: EffectsOf;
  private readonly module: Module;
  private readonly routines: Array<Unit | undefined> = [];
  private readonly shapes = new Map<string, (constants: readonly unknown[]) => Run>();
  private readonly runtime: unknown;
  /** Stable subjects by what is asked; the number is the place in RunState.cache. */
  private readonly subjects = new Map<string, number>();
  private readonly invalidated = new Map<string, number[]>();
  /** Of packed runs, made beforehand. */
  private readonly indexes = new Map<Statement, ProbeIndex>();

  constructor(module: Module, limits: RunLimits) {
    this.module = module;
    this.limits = limits;
    this.effects = new EffectsOf(module);
    this.runtime = runtimeFor(limits);
    this.numberSubjects();
  }

  *prepare(): Generator<void, void> {
    const packed: Indexed[] = [];
    walkStatements(blocksOf(this.module), (s) => {
      if (s.op === "indexed" && s.packed) packed.push(s);
    });
    for (const s of packed) this.indexes.set(s, yield* this.index(s));
  }

  /** A unit whose code is made on first use, so that rules which never fire cost nothing. */
  unit(body: UnitBody, loops: Loops): Unit {
    const unit: { async: boolean; run: Run } = {
      async: this.isAsync(body),
      run: (slots, host, state) => {
        unit.run = this.code(body, loops);
        return unit.run(slots, host, state);
      },
    };
    return unit;
  }

  /** A unit whose code, with the indexes in it, is made now: no first message waits for it. */
  readyUnit(body: UnitBody): Unit {
    return { async: this.isAsync(body), run: this.code(body, []) };
  }

  private isAsync(body: UnitBody): boolean {
    return "subject" in body ? false : this.effects.looksUp("rule" in body ? body.rule.then : body.block);
  }

  private code(body: UnitBody, loops: Loops): Run {
    const { source, constants } = writeUnit(body, { loops, async: this.isAsync(body), context: this });
    return this.shape(source)(constants);
  }

  routine(index: number): Unit {
    return (this.routines[index] ??= this.unit({ block: this.module.routines[index]! }, []));
  }

  table(statements: readonly Statement[], loops: Loops): RuleTable {
    const async = this.effects.looksUp([...statements]);
    return new RuleTable(statements.length, (i) => this.unit({ block: [statements[i]!] }, loops), async);
  }

  chain(rules: readonly IfStatement[], otherwise: Block, loops: Loops): RuleTable {
    const async = this.effects.looksUp(otherwise) || rules.some((rule) => this.effects.looksUp(rule.then));
    return new RuleTable(rules.length, (i) => this.unit({ rule: rules[i]! }, loops), async, {
      otherwise: this.unit({ block: otherwise }, loops),
    });
  }

  indexed(s: Indexed, loops: Loops): RuleTable {
    const index = this.indexes.get(s) ?? atOnce(this.index(s));
    const { packed, otherwise } = s;
    const rule = packed ? (i: number) => itemOf<IfStatement>(packed.rules, i) : (i: number) => s.ifs[i]!;
    const size = packed ? packed.rules.ends.length : s.ifs.length;
    const async = this.effects.looksUp(otherwise ? [s, ...otherwise] : [s]);
    if (!otherwise) return new RuleTable(size, (i) => this.unit({ block: [rule(i)] }, loops), async, { index });
    return new RuleTable(size, (i) => this.unit({ rule: rule(i) }, loops), async, {
      otherwise: this.unit({ block: otherwise }, loops),
      index,
    });
  }

  private index(s: Indexed): Generator<void, ProbeIndex> {
    return ProbeIndex.build(s, (subject) => this.subjectReader(subject));
  }

  subjectNumber(subject: Subject): number | undefined {
    return subject.op === "host" ? this.subjects.get(subjectKey(subject)) : undefined;
  }

  invalidatedBy(kind: string): readonly number[] {
    return this.invalidated.get(kind) ?? [];
  }

  /** Reads a probe's subject outside of any rule. */
  private subjectReader(subject: Subject): SubjectReader {
    return this.code({ subject }, []) as unknown as SubjectReader;
  }

  private shape(source: string): (constants: readonly unknown[]) => Run {
    let shape = this.shapes.get(source);
    if (!shape) {
      // The one place where text becomes code: `source` holds fixed words and table indexes, never author text.
      shape = new Function("M", source)(this.runtime) as (constants: readonly unknown[]) => Run;
      this.shapes.set(source, shape);
    }
    return shape;
  }

  private numberSubjects(): void {
    walkStatements(blocksOf(this.module), (s) => {
      if (s.op === "indexed") for (const probe of s.plan.probes) this.numberSubject(probe.subject);
      if (s.op === "indexed") for (const subject of s.packed?.subjects ?? []) this.numberSubject(subject);
      if (s.op !== "if") return;
      walkTests(s.test, (leaf) => {
        if ("subject" in leaf) this.numberSubject(leaf.subject);
      });
    });
  }

  private numberSubject(subject: Subject): void {
    if (!isSharedSubject(subject)) return;
    const key = subjectKey(subject);
    if (this.subjects.has(key)) return;
    const number = this.subjects.size;
    this.subjects.set(key, number);
    for (const kind of subject.invalidatedBy) {
      const list = this.invalidated.get(kind);
      if (list) list.push(number);
      else this.invalidated.set(kind, [number]);
    }
  }
}
