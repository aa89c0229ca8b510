/**
 * What a Sieve extension declares: its capability, commands, tests, tags, comparators and match types, each with its
 * shape, static check, lowering and documentation, and the evaluation of the host names that its lowering uses.
 * Invariants: declarations are constants; names are lower case; a host name (source, ask, value, effect, loop) is
 * declared by one extension only. Failure: a name declared twice throws when the registry is built, at load time.
 */
import type { ArgumentNode, CommandNode, TagNode } from "../../grammar/sieve/ast.ts";
import type { Data, Fold, Statement, Test } from "../language/ir.ts";
import type { Span } from "../language/span.ts";
import type { Checker } from "./check.ts";
import type { SieveHost } from "./host.ts";
import type { Lowering } from "./lower.ts";

export type ArgumentType = "string" | "list" | "number";

export interface PositionalSpec {
  /** As it is called in messages: "header names". */
  name: string;
  type: ArgumentType;
}

export interface TagSpec {
  name: string;
  /** Tags of one group exclude each other: "MATCH-TYPE". Without one a tag excludes only itself. */
  group?: string;
  /** The argument that follows the tag. */
  value?: ArgumentType;
  /** The message for an argument of another type; `found` is "a number". */
  wrongValue?(found: string): string;
  /** Static check of one use; reports through `check`. */
  check?(use: TagUse, call: Call, check: Checker): void;
  /** Static check once all arguments of the call are known. */
  after?(call: Call, check: Checker): void;
}

/** A tag as used in a call. */
export interface TagUse {
  spec: TagSpec;
  node: TagNode;
  value?: ArgumentNode;
}

/** A checked command or test. */
export interface Call {
  spec: CommandSpec | TestSpec;
  node: CommandNode;
  /** By tag name, lower case. */
  tags: Map<string, TagUse>;
  arguments: ArgumentNode[];
  tests: Call[];
  block: Call[] | undefined;
  /** Known value of a test (constant folding), undefined when it depends on the message. */
  constant: boolean | undefined;
  /** A branch of an if-chain: an earlier one is always taken, so this one never is. */
  unreachable: boolean;
}

interface Construct {
  name: string;
  /** "custom": `check` looks at the arguments itself. */
  positional: readonly PositionalSpec[] | "custom";
  tags?: readonly TagSpec[];
  /** Takes match-type and comparator tags (RFC 5228 §2.7). */
  match?: boolean;
  /** Takes address-part tags (RFC 5228 §2.7.4). */
  addressPart?: boolean;
  /** Sub-tests; absent: none. */
  tests?: "one" | "list";
  /** Runs before sub-tests are checked, when the arguments have the right shape. */
  check?(call: Call, check: Checker): void;
}

export interface CommandSpec extends Construct {
  kind: "command";
  block?: boolean;
  /** Placement, checked before the arguments; answering false ends the check of this command. */
  place?(call: Call, check: Checker): boolean;
  lower(call: Call, to: Lowering): Statement[];
}

export interface TestSpec extends Construct {
  kind: "test";
  constant?(call: Call, check: Checker): boolean | undefined;
  lower(call: Call, to: Lowering): Test;
}

/** A name that is both a command and a test. */
export interface HybridSpec extends Construct {
  lowerCommand(call: Call, to: Lowering): Statement[];
  lowerTest(call: Call, to: Lowering): Test;
}

/** Arguments of an effect or source by name; see Lowering.named. */
export type Arguments = Readonly<Record<string, readonly string[]>>;

/** Evaluation of the names that lowering puts into the IR. `args` are the values at run time. */
export interface Evaluation {
  sources?: Record<string, (host: SieveHost, data: Data, args: readonly string[]) => readonly string[]>;
  asks?: Record<string, (host: SieveHost, data: Data, args: readonly string[]) => boolean>;
  values?: Record<string, (host: SieveHost, data: Data, args: readonly string[]) => string>;
  effects?: Record<string, (host: SieveHost, data: Data, args: Arguments, span: Span) => void>;
}

export interface Extension {
  /** The string for `require`; "" is the base language. */
  capability: string;
  /** "RFC 5229". */
  specification: string;
  /** One sentence and a script for docs/reference/sieve.md. */
  doc: { summary: string; example: string };
  /** Capabilities that come with this one. */
  implies?: readonly string[];
  /** RFC 5463 §4: extensions that change how a script is read can't be asked for with ihave. */
  changesReading?: boolean;
  /** Part of scripts without a require (Pigeonhole preloads some comparators). */
  preloaded?: boolean;
  commands?: readonly CommandSpec[];
  tests?: readonly TestSpec[];
  hybrids?: readonly HybridSpec[];
  /** Tags for constructs of others: names, or "@match", "@address" for all that take such tags. */
  tags?: ReadonlyArray<{ on: readonly string[]; tag: TagSpec }>;
  comparators?: Readonly<Record<string, Fold>>;
  /** Namespaces of variables (RFC 5229 §3): name → host value that is asked for `${namespace.name}`. */
  namespaces?: Readonly<Record<string, string>>;
  evaluation?: Evaluation;
}

export class Registry {
  readonly extensions = new Map<string, Extension>();
  readonly #sources = new Map<string, NonNullable<Evaluation["sources"]>[string]>();
  readonly #asks = new Map<string, NonNullable<Evaluation["asks"]>[string]>();
  readonly #values = new Map<string, NonNullable<Evaluation["values"]>[string]>();
  readonly #effects = new Map<string, NonNullable<Evaluation["effects"]>[string]>();

  constructor(extensions: readonly Extension[]) {
    for (const extension of extensions) {
      if (this.extensions.has(extension.capability)) throw new Error(`declared twice: ${extension.capability}`);
      this.extensions.set(extension.capability, extension);
      const { sources = {}, asks = {}, values = {}, effects = {} } = extension.evaluation ?? {};
      addAll(this.#sources, sources);
      addAll(this.#asks, asks);
      addAll(this.#values, values);
      addAll(this.#effects, effects);
    }
  }

  source(name: string) {
    return known(this.#sources, name);
  }

  ask(name: string) {
    return known(this.#asks, name);
  }

  value(name: string) {
    return known(this.#values, name);
  }

  effect(name: string) {
    return known(this.#effects, name);
  }

  /** Capabilities for `require`, in a stable order. */
  get capabilities(): string[] {
    return [...this.extensions.keys()].filter((name) => name !== "").sort();
  }
}

function addAll<T>(into: Map<string, T>, entries: Readonly<Record<string, T>>): void {
  for (const [name, entry] of Object.entries(entries)) {
    if (into.has(name)) throw new Error(`declared twice: ${name}`);
    into.set(name, entry);
  }
}

function known<T>(map: ReadonlyMap<string, T>, name: string): T {
  const entry = map.get(name);
  if (entry === undefined) throw new Error(`no evaluation for ${name}`);
  return entry;
}
