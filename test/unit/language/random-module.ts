/**
 * Seeded random modules and hosts for the differential test: small alphabets, so that tests are often true, and long
 * runs of rules, so that indexes come into play. Hosts answer as pure functions of their seed, of how often they were
 * acted upon, and of the loop item; they log everything that an observer could notice.
 */
import type { Host } from "../../../src/language/host.ts";
import type {
  Block,
  Data,
  Fold,
  MatchKind,
  Module,
  Statement,
  Subject,
  Test,
  Value,
} from "../../../src/language/ir.ts";
import { noSpan as span } from "../../../src/language/span.ts";

/** mulberry32: the same numbers for the same seed everywhere. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  below(limit: number): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  list<T>(most: number, make: () => T): T[] {
    const out: T[] = [];
    for (let left = this.below(most + 1); left > 0; left--) out.push(make());
    return out;
  }
}

const texts = [
  ..."|a|A|b|ab|Ab|abc|xabcx|viagra now|VIAGRA|\u212aelvin|kelvin|straße STRASSE|\u{1d11e}x|a.b|b.a.b|.b|x.a.b".split(
    "|",
  ),
  ..."example.org|mail.example.org|EXAMPLE.ORG|notexample.org|joe@example.org|Joe@Mail.Example.Org".split("|"),
  ..."10.1.2.3|10.1.2.200|192.0.2.1|[10.1.2.3]|2001:db8::1|2001:db8:1::5|::ffff:10.1.2.3|10.1.2|999.1.1.1".split("|"),
  ..."0|00|7|-7|+7|42| 42 |0042|42x|99999999999999999999|-1|4".split("|"),
];
const ipSets = [
  "10.1.2.0/24",
  "10.1.2.3",
  "10.1.2.0/255.255.255.128",
  "10.1.0.0/255.0.255.0",
  "10.1.2.3-10.1.2.201",
  "192.0.2.0/24, 2001:db8::/32",
  "[2001:db8::1]",
  "2001:db8::-2001:db8:1::ffff",
  "0.0.0.0/0",
  "bad/99",
];
const globs = ["*", "a*", "*b", "*a*b*", "?", "a?c", "*@example.org", "\\*", "abc", "*viagra*", "mail.?*.org", "**a"];
const regexes = [
  "a",
  "^a",
  "abc$",
  "(abc|kelvin)",
  "viagra",
  "exam+ple",
  "[a-c]+\\.[a-c]",
  "\\d+",
  "(joe|mail).*org",
  "abc?",
  "x?kelvin",
  "(?i)KELVIN",
  "stra(ß|ss)e",
  "",
];
const substringKinds: readonly MatchKind[] = [
  "is",
  "is",
  "contains",
  "prefix",
  "suffix",
  "domain",
  "glob",
  "regex",
  "cidr",
];
const relations: readonly MatchKind[] = ["is", "gt", "ge", "lt", "le", "eq", "ne"];
const slotCount = 6;

export function randomModule(random: Random): Module {
  return new Generator(random).module();
}

class Generator {
  private readonly random: Random;
  private statementsLeft = 40;

  constructor(random: Random) {
    this.random = random;
  }

  module(): Module {
    const { random } = this;
    const routines = random.below(3);
    return {
      language: random.chance(50) ? "sieve" : "smtpfilters",
      file: "random",
      slots: Array.from({ length: slotCount }, (_, i) => ({ name: `s${i}`, kind: "custom" as const })),
      entries: { main: this.block(0, routines, [], false) },
      routines: Array.from({ length: routines }, (_, i) => this.block(2, i, [], true)),
    };
  }

  /** `callable`: routines below this number may be called, so there are no circles. */
  private block(depth: number, callable: number, loops: string[], routine: boolean): Block {
    const { random } = this;
    const out: Block = [];
    const segments = 1 + random.below(depth === 0 ? 3 : 2);
    for (let i = 0; i < segments; i++) {
      const context = () => this.statement(depth, callable, loops, routine);
      if (depth < 2 && random.chance(55)) out.push(...this.rules(depth, context));
      else out.push(...random.list(4, context));
    }
    return out;
  }

  /** A run of rules over few subjects, as a list or as one chain. */
  private rules(depth: number, other: () => Statement): Block {
    const { random } = this;
    const apart = random.chance(70) ? slotCount / 2 : 0;
    const slot = (): Subject => ({ op: "one", value: { op: "slot", slot: random.below(slotCount / 2) } });
    const subjects = [apart && random.chance(60) ? slot() : this.subject(), this.subject()];
    const count = 4 + random.below(depth === 0 ? 26 : 10);
    const ifs = Array.from({ length: count }, (): Statement => {
      const probed = this.match(random.pick(subjects));
      const test: Test = random.chance(75)
        ? probed
        : { op: random.pick(["any", "all"] as const), tests: [this.test(1), probed], span };
      const then = random.chance(85) ? [this.simple(apart)] : random.list(2, other);
      return { op: "if", test, then, else: random.chance(8) ? [this.simple()] : [], span };
    });
    if (random.chance(30)) {
      const last: Block = random.chance(50) ? [this.simple()] : [];
      return ifs.reduceRight((rest: Block, s) => [{ ...(s as Extract<Statement, { op: "if" }>), else: rest }], last);
    }
    return random.chance(30) ? ifs.flatMap((s) => (random.chance(20) ? [s, this.simple()] : [s])) : ifs;
  }

  /** Sets slots from `lowest` on only: rules that write what no other rule tests can be indexed. */
  private simple(lowest = 0): Statement {
    const { random } = this;
    const slot = lowest + random.below(slotCount - lowest);
    if (random.chance(60)) return { op: "set", slot, value: this.value(1), span };
    return { op: "effect", kind: random.pick(["note", "note", "edit"]), args: [this.value(1)], data: {}, span };
  }

  private statement(depth: number, callable: number, loops: string[], routine: boolean): Statement {
    const { random } = this;
    const kind = this.statementsLeft-- > 0 ? random.below(100) : 0;
    if (kind < 35 || depth > 3) return this.simple();
    if (kind < 55) {
      const [then, other] = [0, 0].map(() => this.block(depth + 1, callable, loops, routine));
      return { op: "if", test: this.test(2), then: then!, else: random.chance(40) ? other! : [], span };
    }
    if (kind < 72) return this.lookup();
    if (kind < 76) return { op: "export", slot: random.below(slotCount), span };
    if (kind < 80 && callable > 0) return { op: "call", routine: random.below(callable), span };
    if (kind < 88 && loops.length < 2) {
      const name = `loop${loops.length}`;
      const body = this.block(depth + 1, callable, [...loops, name], routine);
      return { op: "each", source: "parts", data: { limit: 1 + random.below(3) }, body, name, span };
    }
    if (kind < 94 && loops.length > 0) {
      return random.chance(50) ? { op: "break", span } : { op: "break", name: random.pick(loops), span };
    }
    if (kind < 97 && depth > 0) return random.chance(50) && routine ? { op: "return", span } : { op: "stop", span };
    return this.simple();
  }

  private lookup(): Statement {
    const { random } = this;
    const slots = () => random.list(2, () => random.below(slotCount));
    const reads = slots();
    const sees = random.chance(60) ? random.list(1, () => "edit") : undefined;
    const data = { how: random.pick(["sync", "promise", "later", "none"]), reads, moved: sees?.length !== 0 };
    return { op: "lookup", name: `fact${random.below(4)}`, reads, writes: slots(), data, ...(sees && { sees }), span };
  }

  private test(depth: number): Test {
    const { random } = this;
    const kind = random.below(100);
    const inner = () => this.test(depth - 1);
    if (depth > 0 && kind < 15) return { op: "any", tests: random.list(4, inner), span };
    if (depth > 0 && kind < 30) return { op: "all", tests: random.list(3, inner), span };
    if (depth > 0 && kind < 37) return { op: "not", test: inner(), span };
    if (kind < 41) return { op: "const", value: random.chance(50), span };
    if (kind < 47) return { op: "inList", subject: this.subject(), lists: [this.value(0)], span };
    if (kind < 53) return { op: "ask", name: "q", args: [this.value(1)], data: {}, pure: random.chance(60), span };
    if (kind < 57) {
      const how = random.pick(["gt", "ge", "lt", "le", "eq", "ne"] as const);
      return { op: "count", subject: this.subject(), how, keys: [this.const("1")], fold: "numeric", span };
    }
    return this.match(this.subject());
  }

  private match(subject: Subject): Test {
    const { random } = this;
    const fold = random.pick<Fold>(["octet", "ascii", "ascii", "unicode", "numeric", "integer"]);
    const number = fold === "numeric" || fold === "integer";
    const how = number || random.chance(8) ? random.pick(relations) : random.pick(substringKinds);
    const keys = random.list(random.chance(10) ? 16 : 2, () => this.key(how));
    const capture = random.chance(how === "glob" || how === "regex" ? 40 : 5);
    return { op: "match", subject, how, fold, keys, ...(capture && { capture }), span };
  }

  private key(how: MatchKind): Value {
    const { random } = this;
    if (how === "regex") return this.const(random.pick(regexes));
    if (how === "cidr") return this.const(random.pick(ipSets));
    if (how === "glob" && random.chance(70)) return this.const(random.pick(globs));
    return random.chance(8) ? this.value(1) : this.const(random.pick(texts));
  }

  private subject(): Subject {
    const { random } = this;
    if (random.chance(45)) return { op: "one", value: this.value(1) };
    if (random.chance(15)) return { op: "list", values: random.list(3, () => this.value(0)) };
    const source = random.pick(["header", "envelope", "part", "clock"]);
    const args = random.chance(10) ? [this.value(0)] : [];
    const invalidatedBy = source === "header" ? ["edit"] : [];
    const data: Data = { name: random.pick(["subject", "from", "to"]) };
    return { op: "host", source, data, args, stable: source !== "clock", invalidatedBy };
  }

  private value(depth: number): Value {
    const { random } = this;
    const kind = random.below(100);
    if (depth > 0 && kind < 12) return { op: "concat", parts: random.list(3, () => this.value(0)) };
    if (depth > 0 && kind < 18) return { op: "pure", name: "upper", args: [this.value(0)] };
    if (kind < 24) return { op: "host", name: "variable", args: [] };
    return kind < 70 ? { op: "slot", slot: random.below(slotCount) } : this.const(random.pick(texts));
  }

  private const(text: string): Value {
    return { op: "const", text };
  }
}

/** What a run did that someone outside could notice; look-ups apart, because they may start early. */
export interface Log {
  acts: string[];
  lookups: string[];
}

export function randomSlots(random: Random): string[] {
  const slots: string[] = [];
  while (slots.length < slotCount) slots.push(random.pick(texts));
  return slots;
}

/** `slots` are the running program's own, so that look-ups see their inputs as they are when they start. */
export function randomHost(seed: number, slots: readonly string[], log: Log): Host {
  let acted = 0;
  let noted = 0;
  const items: Array<{ at: number; limit: number }> = [];
  const item = () => items.at(-1)?.at ?? 0;
  const answer = (question: string): Random => {
    let hash = seed;
    for (let i = 0; i < question.length; i++) hash = Math.imul(hash ^ question.charCodeAt(i), 0x01000193);
    return new Random(hash);
  };
  const act = (what: string): void => {
    log.acts.push(what);
    noted++;
  };
  return {
    source(name, data, args) {
      const moving = name === "header" ? acted : name === "part" ? item() : name === "clock" ? noted : 0;
      const random = answer(`${name} ${data.name} ${args.join()} ${moving}`);
      return random.list(3, () => random.pick(texts));
    },
    value: (name, _data, args) => (name === "upper" ? args.join("").toUpperCase() : `v${noted % 3}`),
    ask(name, _data, args) {
      return answer(`${name} ${args.join()} ${acted}`).chance(50);
    },
    inList: (list, value) => answer(`${list} ${value}`).chance(40),
    effect(kind, _data, args) {
      act(`${kind} ${args.join()}`);
      if (kind === "edit") acted++;
    },
    lookup(name, data) {
      const reads = (data.reads as number[]).map((slot) => slots[slot]);
      const question = `${name} ${reads.join()} ${data.moved ? acted : ""}`;
      log.lookups.push(question);
      const random = answer(question);
      const values = [random.pick(texts), random.pick(texts)];
      if (data.how === "none") return undefined;
      if (data.how === "promise") return Promise.resolve(values);
      if (data.how === "later") return Promise.resolve().then(() => values);
      return values;
    },
    exported: (slot) => act(`export ${slot} ${slots[slot]}`),
    captured: (groups) => act(`captured ${groups.join("|")}`),
    eachBegin(_source, data) {
      act("begin");
      items.push({ at: 0, limit: data.limit as number });
    },
    eachNext: () => items.at(-1)!.at++ < items.at(-1)!.limit,
    eachEnd() {
      items.pop();
      act("end");
    },
  };
}
