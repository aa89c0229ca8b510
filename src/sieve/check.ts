/**
 * Static check of a Sieve script: which commands, tests and tags exist under the script's `require`s, and whether each
 * use has the right shape (RFC 5228 §2.6, §2.10.5). Reports every mistake of the script, each once.
 * Invariants: branches that can't be reached are not checked (RFC 5228 §2.10.6: ihave relies on it); a call whose check
 * failed is never lowered. Failure: diagnostics; never throws.
 */
import type { ArgumentNode, CommandNode, StringNode } from "../../grammar/sieve/ast.ts";
import type { Diagnostic } from "../language/diagnostic.ts";
import { nearest } from "../language/nearest.ts";
import type { Span } from "../language/span.ts";
import { type Code, codes } from "./codes.ts";
import type { Profile } from "./profile.ts";
import type { Call, CommandSpec, Registry, TagSpec, TagUse, TestSpec } from "./registry.ts";
import type { SieveSettings } from "./settings.ts";
import { hasSubstitution, type Scope } from "./strings.ts";

/** What a check reads besides the script. */
export interface CheckContext {
  registry: Registry;
  settings: SieveSettings;
  profile: Profile;
  file: string;
}

/** Groups that messages call by their name in RFC 5228 §2.7; tags of other groups are called by their own. */
const namedGroups = new Set(["MATCH-TYPE", "ADDRESS-PART"]);

/** Shared by all calls without tags. */
const noTags = new Map<string, TagUse>();

const typeNames = { string: "a string", list: "a string list", number: "a number", tag: "a tag" } as const;

export class Checker {
  readonly diagnostics: Diagnostic[] = [];
  readonly context: CheckContext;
  readonly scope: Scope;
  /** Enclosing commands, outermost first. */
  readonly enclosing: Call[] = [];
  #commands = new Map<string, CommandSpec | TestSpec>();
  /** The test side of names that are commands too. */
  #testSides = new Map<string, TestSpec>();
  #tags = new Map<string, TagSpec[]>();
  /** All tags of a construct, until another extension is enabled. */
  #tagLists = new Map<CommandSpec | TestSpec, TagSpec[]>();
  readonly #reported = new Set<string>();
  #errors = 0;
  /** The sibling just before the one at hand, for if-chains. */
  previous: Call | undefined;
  /** Only `require` was seen so far (RFC 5228 §3.2). */
  atBeginning = true;

  constructor(context: CheckContext, scope: Scope) {
    this.context = context;
    this.scope = scope;
    this.enable("");
    for (const extension of context.registry.extensions.values()) {
      if (extension.preloaded) this.enable(extension.capability);
    }
  }

  get failed(): boolean {
    return this.#errors > 0;
  }

  /** Makes an extension's words known; answers false when there is no such extension. */
  enable(capability: string): boolean {
    const extension = this.context.registry.extensions.get(capability);
    if (extension === undefined || this.context.settings.disabledExtensions.includes(capability)) return false;
    if (this.scope.enabled.has(capability)) return true;
    this.scope.enabled.add(capability);
    this.#tagLists = new Map();
    for (const spec of [...(extension.commands ?? []), ...(extension.tests ?? [])]) this.#commands.set(spec.name, spec);
    for (const hybrid of extension.hybrids ?? []) {
      this.#commands.set(hybrid.name, { ...hybrid, kind: "command", lower: hybrid.lowerCommand });
      this.#testSides.set(hybrid.name, { ...hybrid, kind: "test", lower: hybrid.lowerTest });
    }
    for (const { on, tag } of extension.tags ?? []) {
      for (const name of on) this.#tags.set(name, [...(this.#tags.get(name) ?? []), tag]);
    }
    for (const [name, fold] of Object.entries(extension.comparators ?? {})) this.scope.comparators.set(name, fold);
    for (const [space, value] of Object.entries(extension.namespaces ?? {})) this.scope.namespaces.set(space, value);
    for (const implied of extension.implies ?? []) this.enable(implied);
    return true;
  }

  error(at: { span: Span }, code: Code, message: string, hint?: string): void {
    this.#errors++;
    this.#report("error", at, code, message, hint);
  }

  warn(at: { span: Span }, code: Code, message: string, hint?: string): void {
    this.#report("warning", at, code, message, hint);
  }

  #report(severity: "error" | "warning", at: { span: Span }, code: Code, message: string, hint?: string): void {
    this.diagnostics.push({ severity, code, message, ...(hint ? { hint } : {}), span: at.span });
  }

  /** The text of a string without substitutions, undefined for one that depends on variables. */
  constant(node: ArgumentNode | undefined): string | undefined {
    if (node?.kind !== "string" || hasSubstitution(node.text, this.scope)) return undefined;
    return this.scope.decode(node.text);
  }

  /** The strings of a string or list argument. */
  strings(node: ArgumentNode | undefined): StringNode[] {
    return node?.kind === "list" ? node.items : node?.kind === "string" ? [node] : [];
  }

  /** Checks a list of commands; calls that are wrong or can't be reached are left out of the answer. */
  block(nodes: readonly CommandNode[]): Call[] {
    const calls: Call[] = [];
    const outer = this.previous;
    this.previous = undefined;
    for (const node of nodes) {
      const call = this.#command(node);
      this.previous = call;
      if (call !== undefined) calls.push(call);
    }
    this.previous = outer;
    return calls;
  }

  #command(node: CommandNode): Call | undefined {
    const call = this.#call(node);
    if (call === undefined) return undefined;
    const spec = call.spec as CommandSpec;
    const well = this.#shape(call, () => this.#blockPresence(call, spec));
    const placed = !well || spec.place === undefined || spec.place(call, this);
    if (call.unreachable) return call;
    if (spec.name !== "require") this.atBeginning = false;
    if (well && placed) {
      spec.check?.(call, this);
      this.context.profile.check(call, this);
    }
    this.#descend(call);
    if (node.block !== undefined && spec.block && reachable(call)) {
      this.enclosing.push(call);
      call.block = this.block(node.block);
      this.enclosing.pop();
    }
    return call;
  }

  #test(node: CommandNode): Call | undefined {
    const call = this.#call(node);
    if (call === undefined) return undefined;
    const spec = call.spec as TestSpec;
    const well = this.#shape(call, () => true);
    if (well) {
      spec.check?.(call, this);
      this.context.profile.check(call, this);
    }
    const whole = this.#descend(call);
    if (well && whole) call.constant = spec.constant?.(call, this);
    return call;
  }

  /**
   * Everything that can be said without knowing the word's meaning, up to the first kind of mistake. A tag without its
   * colon is read as a sub-test, so those are looked at whatever is wrong with the arguments.
   */
  #shape(call: Call, blockFits: () => boolean): boolean {
    const counted = this.#arguments(call);
    const tested = this.#subTests(call);
    return counted && tested && blockFits() && this.#types(call);
  }

  /** Sub-tests in order, up to the one that decides an anyof or allof; false when there are mistakes among them. */
  #descend(call: Call): boolean {
    const before = this.#errors;
    const decisive = call.spec.name === "allof" ? false : call.spec.name === "anyof" ? true : undefined;
    for (const node of call.spec.tests === undefined ? [] : call.node.tests) {
      const test = this.#test(node);
      if (test === undefined) continue;
      call.tests.push(test);
      if (decisive !== undefined && test.constant === decisive) break;
    }
    return this.#errors === before;
  }

  /** Finds what a name stands for. */
  #call(node: CommandNode): Call | undefined {
    const name = node.name.toLowerCase();
    const spec = (node.kind === "test" && this.#testSides.get(name)) || this.#commands.get(name);
    if (spec === undefined) {
      this.#unknown(node, name);
      return undefined;
    }
    if (spec.kind !== node.kind) {
      this.error({ span: node.nameSpan }, codes.subTests, `attempted to use ${spec.kind} '${name}' as ${node.kind}`);
      return undefined;
    }
    return {
      spec,
      node,
      tags: noTags,
      arguments: [],
      tests: [],
      block: undefined,
      constant: undefined,
      unreachable: false,
    };
  }

  #unknown(node: CommandNode, name: string): void {
    if (!this.#once(`command ${name}`)) {
      this.#errors++; // wrong again, but said before
      return;
    }
    this.error(
      { span: node.nameSpan },
      codes.unknownCommand,
      `unknown ${node.kind} '${node.name}' (only reported once at first occurrence)`,
      this.#hintForName(name, node.kind),
    );
  }

  #hintForName(name: string, kind: "command" | "test"): string | undefined {
    for (const extension of this.context.registry.extensions.values()) {
      const words = (kind === "command" ? extension.commands : extension.tests) ?? [];
      if (words.some((spec) => spec.name === name)) return requireHint(extension.capability);
    }
    const near = nearest(
      name,
      [...this.#commands.values()].filter((spec) => spec.kind === kind).map((spec) => spec.name),
    );
    return near && `did you mean '${near}'?`;
  }

  nearestCapability(name: string): string | undefined {
    const near = nearest(name, this.context.registry.capabilities);
    return near && `did you mean "${near}"?`;
  }

  #once(what: string): boolean {
    if (this.#reported.has(what)) return false;
    this.#reported.add(what);
    return true;
  }

  // ---- arguments

  #arguments(call: Call): boolean {
    const given = call.node.arguments;
    const before = this.#errors;
    let at = 0;
    while (given[at]?.kind === "tag") {
      const used = this.#tag(call, at);
      if (used === 0) return false;
      at += used;
    }
    this.#positional(call, at);
    return this.#errors === before;
  }

  /** Positional arguments of the right kinds, tags that agree with them. */
  #types(call: Call): boolean {
    const before = this.#errors;
    const wanted = call.spec.positional === "custom" ? undefined : call.spec.positional;
    for (const [index, argument] of call.arguments.entries()) {
      const position = wanted?.[index];
      if (position && !fits(argument, position.type)) {
        this.error(
          argument,
          codes.arguments,
          `the ${describe(call)} expects ${typeNames[position.type]} as argument ${index + 1} (${position.name}), but ${typeNames[argument.kind]} was found`,
        );
        return false;
      }
      this.#checkStrings(argument);
    }
    if (this.#errors > before) return false;
    for (const use of call.tags.values()) use.spec.after?.(call, this);
    return this.#errors === before;
  }

  /** Checks the tag at `at`; answers how many arguments it took, 0 when it is wrong. */
  #tag(call: Call, at: number): number {
    const { node } = call;
    const tag = node.arguments[at]!;
    if (tag.kind !== "tag") return 0;
    const what = describe(call);
    const name = tag.name.toLowerCase();
    const specs = this.#tagsOf(call.spec);
    const spec = specs.find((candidate) => candidate.name === name);
    if (spec === undefined) {
      if (!this.#once(`tag ${name} ${call.spec.name}`)) {
        this.#errors++; // wrong again, but said before
      } else {
        this.error(
          tag,
          codes.unknownTag,
          `unknown tagged argument ':${tag.name}' for the ${what} (reported only once at first occurrence)`,
          this.#hintForTag(name, call.spec, specs),
        );
      }
      return 0;
    }
    const group = spec.group ?? `:${spec.name}`;
    const twice = [...call.tags.values()].some((use) => (use.spec.group ?? `:${use.spec.name}`) === group);
    if (twice) {
      this.error(
        tag,
        codes.arguments,
        `encountered duplicate ${namedGroups.has(group) ? `${group} argument (:${name})` : `:${name} argument`} for the ${what}`,
      );
      return 0;
    }
    const use: TagUse = { spec, node: tag };
    const before = this.#errors;
    if (spec.value !== undefined) {
      const value = node.arguments[at + 1];
      if (value === undefined) {
        this.error(
          tag,
          codes.arguments,
          `the :${name} tag for the ${what} requires ${typeNames[spec.value]} as parameter, but no parameters were found`,
        );
        return 0;
      }
      if (!fits(value, spec.value)) {
        this.error(
          value,
          codes.arguments,
          spec.wrongValue?.(typeNames[value.kind]) ??
            `the :${name} tag for the ${what} requires ${typeNames[spec.value]} as parameter, but ${typeNames[value.kind]} was found`,
        );
        return 0;
      }
      use.value = value;
      this.#checkStrings(value);
    }
    if (call.tags === noTags) call.tags = new Map();
    call.tags.set(name, use);
    spec.check?.(use, call, this);
    if (this.#errors > before) return 0;
    return spec.value === undefined ? 1 : 2;
  }

  #tagsOf(spec: CommandSpec | TestSpec): TagSpec[] {
    const known = this.#tagLists.get(spec);
    if (known !== undefined) return known;
    const tags = [...(spec.tags ?? []), ...(this.#tags.get(spec.name) ?? [])];
    if (spec.match) tags.push(...(this.#tags.get("@match") ?? []));
    if (spec.addressPart) tags.push(...(this.#tags.get("@address") ?? []));
    this.#tagLists.set(spec, tags);
    return tags;
  }

  #hintForTag(name: string, spec: CommandSpec | TestSpec, specs: readonly TagSpec[]): string | undefined {
    for (const extension of this.context.registry.extensions.values()) {
      for (const { on, tag } of extension.tags ?? []) {
        const applies =
          on.includes(spec.name) ||
          (spec.match && on.includes("@match")) ||
          (spec.addressPart && on.includes("@address"));
        if (applies && tag.name === name) return requireHint(extension.capability);
      }
    }
    const near = nearest(
      name,
      specs.map((tag) => tag.name),
    );
    return near && `did you mean ':${near}'?`;
  }

  #positional(call: Call, from: number): void {
    const { node, spec } = call;
    const what = describe(call);
    const given = node.arguments.slice(from);
    const tag = given.find((argument) => argument.kind === "tag");
    const wanted = spec.positional === "custom" ? undefined : spec.positional;
    if (tag?.kind === "tag") {
      this.#errors++;
      if (this.#reported.has(`tag ${tag.name.toLowerCase()} ${spec.name}`)) return;
      this.error(
        tag,
        codes.arguments,
        `encountered an unexpected tagged argument ':${tag.name}' while validating positional arguments for the ${what}`,
        "tags go before the other arguments",
      );
      return;
    }
    if (wanted !== undefined && given.length !== wanted.length) {
      this.error(
        { span: node.nameSpan },
        codes.arguments,
        `the ${what} requires ${wanted.length} positional argument(s), but ${given.length} is/are specified`,
      );
      return;
    }
    call.arguments = given;
  }

  /** Substitutions inside each string are checked where they stand. */
  #checkStrings(argument: ArgumentNode): void {
    for (const string of this.strings(argument)) {
      for (const problem of this.scope.problems(string.text)) this.error(string, codes.variable, problem);
    }
  }

  // ---- tests and blocks

  #subTests(call: Call): boolean {
    const { node, spec } = call;
    const what = describe(call);
    const count = node.tests.length;
    const error = (message: string, hint?: string): boolean => {
      this.error({ span: node.tests[0]?.nameSpan ?? node.nameSpan }, codes.subTests, message, hint);
      return false;
    };
    if (spec.tests === undefined) {
      if (count === 0) return true;
      const first = node.tests[0]!;
      const name = first.name.toLowerCase();
      const kind = this.#commands.get(name)?.kind;
      if (kind === undefined && this.#tagsOf(spec).some((tag) => tag.name === name)) {
        return error(`missing colon ':' before ':${name}' tag in ${what}`, `write :${name}`);
      }
      if (kind !== "test") return error(`missing semicolon ';' after ${what}`);
      return error(`the ${what} accepts no sub-tests, but tests are specified`);
    }
    if (count === 0)
      return error(
        `the ${what} requires ${spec.tests === "one" ? "one sub-test" : "a list of sub-tests"}, but none is specified`,
      );
    if (spec.tests === "one" && node.testList)
      return error(`the ${what} requires one sub-test, but a list of tests is specified`);
    if (spec.tests === "list" && !node.testList)
      return error(
        `the ${what} requires a list of sub-tests, but a single test is specified`,
        `put the test in parentheses: ${spec.name} (…)`,
      );
    return true;
  }

  #blockPresence(call: Call, spec: CommandSpec): boolean {
    const present = call.node.block !== undefined;
    if (present === (spec.block ?? false)) return true;
    const message = present
      ? "does not accept a command block, but one is specified anyway"
      : "requires a command block, but it is missing";
    this.error({ span: call.node.nameSpan }, codes.block, `the ${describe(call)} ${message}`);
    return false;
  }
}

/** "header test", "keep command". */
export function describe(call: Call): string {
  return `${call.spec.name} ${call.spec.kind}`;
}

function fits(argument: ArgumentNode, type: "string" | "list" | "number"): boolean {
  // RFC 5228 §2.4.2.1: a single string stands for a list of one.
  return argument.kind === type || (type === "list" && argument.kind === "string");
}

/** False for the block of an if or elsif whose test is known to be false, or that follows a branch always taken. */
function reachable(call: Call): boolean {
  return !call.unreachable && !(call.tests.length === 1 && call.tests[0]!.constant === false);
}

function requireHint(capability: string): string {
  return `add: require "${capability}";`;
}
