/**
 * An optimised module in a form that another process takes over without a pause: long runs of rules as JSON text in one
 * buffer, of which a rule is read when it first fires. What emit has to know of all rules together goes with them.
 *
 * Invariants: a packed module means what the module meant; it is plain data that structured cloning copies, nearly all
 * of it in few buffers; packed rules have no spans, which nothing reads at run time. Failure: none.
 */
import { EffectsOf } from "./effects.ts";
import type {
  Block,
  HostSubject,
  IfStatement,
  IndexProbe,
  Module,
  PackedItems,
  PackedRun,
  Statement,
  Subject,
} from "./ir.ts";
import { mapBlocks, rechain } from "./optimise/rewrite.ts";
import { isSharedSubject, subjectKey, unchain, walkStatements, walkTests } from "./walk.ts";

/** Shorter runs are not worth it. */
const shortestRun = 64;
/** Entries of a probe that are read in one go. */
const entriesAtOnce = 128;

type Indexed = Extract<Statement, { op: "indexed" }>;

/** @param shortest runs of fewer rules stay as they are */
export function pack(module: Module, shortest = shortestRun): Module {
  const packer = new Packer(new EffectsOf(module), shortest);
  return mapBlocks(module, (block) => packer.block(block));
}

/** Item `index` of packed items; they must hold it. */
export function itemOf<T>({ octets, ends }: PackedItems, index: number): T {
  const start = index === 0 ? 0 : ends[index - 1]!;
  const { buffer, byteOffset } = octets;
  return JSON.parse(Buffer.from(buffer, byteOffset + start, ends[index]! - start).toString("utf8")) as T;
}

/** The entries of probe `index`, in pieces. */
export function* entriesOf(s: Indexed, index: number): Generator<IndexProbe["entries"]> {
  const packed = s.packed?.entries[index];
  if (!packed) yield s.plan.probes[index]!.entries;
  else for (let piece = 0; piece < packed.ends.length; piece++) yield itemOf(packed, piece);
}

class Packer {
  private readonly effects: EffectsOf;
  private readonly shortest: number;

  constructor(effects: EffectsOf, shortest: number) {
    this.effects = effects;
    this.shortest = shortest;
  }

  block(block: Block): Block {
    const out: Block = [];
    let run: IfStatement[] = [];
    const endRun = (): void => {
      if (run.length >= this.shortest) out.push(this.unindexed(run));
      else for (const s of run) out.push(...this.statement(s));
      run = [];
    };
    for (const s of block) {
      if (s.op === "if") run.push(s);
      else {
        endRun();
        out.push(...this.statement(s));
      }
    }
    endRun();
    return out;
  }

  private statement(s: Statement): Block {
    if (s.op === "each") return [{ ...s, body: this.block(s.body) }];
    if (s.op === "indexed") return [s.ifs.length < this.shortest ? s : this.packed(s)];
    if (s.op !== "if") return [s];
    const { rules, otherwise } = unchain(s);
    if (rules.length >= this.shortest) return [this.unindexed(rules, otherwise)];
    const inner = rules.map((rule) => ({ ...rule, then: this.block(rule.then) }));
    return rechain(inner, this.block(otherwise));
  }

  /** Rules without an index, as the index that names them all. */
  private unindexed(rules: readonly IfStatement[], otherwise?: Block): Statement {
    const plan = { probes: [], always: rules.map((_, i) => i) };
    const ifs = otherwise ? rules.map((rule) => ({ ...rule, else: [] })) : [...rules];
    return this.packed({ op: "indexed", ifs, plan, span: ifs[0]!.span, ...(otherwise ? { otherwise } : {}) });
  }

  private packed(s: Indexed): Statement {
    const { probes, always } = s.plan;
    const effects = this.effects.of(s.ifs);
    const packed: PackedRun = {
      rules: packItems(s.ifs.map(withoutSpans)),
      entries: probes.map(({ entries }) => packItems(chunks(entries, entriesAtOnce))),
      subjects: sharedSubjects(s.ifs),
      effects: { ...effects, writes: [...effects.writes], kinds: [...effects.kinds] },
    };
    const plan = { probes: probes.map((probe) => ({ ...probe, entries: [] })), always };
    return { ...s, ifs: [], plan, packed, ...(s.otherwise ? { otherwise: this.block(s.otherwise) } : {}) };
  }
}

function packItems(items: readonly unknown[]): PackedItems {
  const texts = items.map((item) => Buffer.from(JSON.stringify(item), "utf8"));
  let end = 0;
  const ends = Uint32Array.from(texts, ({ length }) => (end += length));
  return { octets: Buffer.concat(texts), ends };
}

function chunks<T>(list: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size));
}

function withoutSpans(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutSpans);
  if (typeof value !== "object" || value === null) return value;
  const bare: Record<string, unknown> = {};
  const isNode = "op" in value; // what is under `data` keeps a span of its own
  for (const key in value) {
    if (!isNode || key !== "span") bare[key] = withoutSpans((value as Record<string, unknown>)[key]);
  }
  return bare;
}

/** Subjects whose answers a run shares, each once. */
function sharedSubjects(rules: readonly IfStatement[]): HostSubject[] {
  const found = new Map<string, HostSubject>();
  const note = (subject: Subject): void => {
    if (isSharedSubject(subject)) found.set(subjectKey(subject), subject);
  };
  walkStatements([[...rules]], (s) => {
    if (s.op === "indexed") for (const { subject } of s.plan.probes) note(subject);
    if (s.op === "if") walkTests(s.test, (leaf) => "subject" in leaf && note(leaf.subject));
  });
  return [...found.values()];
}
