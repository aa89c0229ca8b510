/**
 * Strings of a script as they are meant: encoded characters (RFC 5228 §2.4.2.4) and variables (RFC 5229 §3) inside.
 * A `Scope` is what one script file knows: enabled extensions, comparators, its variables.
 * Invariants: encoded characters are decoded first, then variables are found in the result; `${` that begins neither
 * is plain text. Failure: `problems` names each mistake; `value` leaves mistaken references out.
 */
import type { Fold, SlotInfo, Value } from "../language/ir.ts";

/** Slots of one module, shared by a script and all it includes. */
export class SlotTable {
  readonly slots: SlotInfo[] = [];
  readonly #globals = new Map<string, number>();

  add(name: string, kind: SlotInfo["kind"] = "custom"): number {
    this.slots.push({ name, kind });
    return this.slots.length - 1;
  }

  get globalSlots(): IterableIterator<number> {
    return this.#globals.values();
  }

  /** RFC 6609 §3.4: one variable for all scripts of a run. */
  global(name: string): number {
    let slot = this.#globals.get(name);
    if (slot === undefined) this.#globals.set(name, (slot = this.add(`global.${name}`)));
    return slot;
  }
}

const reference = /\$\{([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*|[0-9]+)\}/g;
const encoded = /\$\{(hex|unicode):([\s0-9A-Fa-f]*)\}/gi;
const identifier = /^[A-Za-z_][A-Za-z0-9_]*$/;

export class Scope {
  readonly enabled = new Set<string>();
  readonly comparators = new Map<string, Fold>();
  readonly table: SlotTable;
  /** Namespaces of variables besides "global": name → host value that knows them. */
  readonly namespaces = new Map<string, string>();
  readonly #locals = new Map<string, number>();
  readonly #limits: { variables: number; matchValues: number };

  constructor(table: SlotTable, limits: { variables: number; matchValues: number }) {
    this.table = table;
    this.#limits = limits;
  }

  get hasVariables(): boolean {
    return this.enabled.has("variables");
  }

  /** Slots of this script's own variables. */
  get locals(): IterableIterator<number> {
    return this.#locals.values();
  }

  /** The slot of a variable, made when new; undefined when the name can't be assigned to. */
  slot(name: string): number | undefined {
    const lower = name.toLowerCase();
    if (lower.startsWith("global.") && this.enabled.has("include") && identifier.test(lower.slice(7))) {
      return this.table.global(lower.slice(7));
    }
    if (!identifier.test(lower)) return undefined;
    let slot = this.#locals.get(lower);
    if (slot === undefined) this.#locals.set(lower, (slot = this.table.add(lower)));
    return slot;
  }

  /** Binds a name to the variable of all scripts (RFC 6609 §3.4). */
  bindGlobal(name: string): boolean {
    const lower = name.toLowerCase();
    if (!identifier.test(lower)) return false;
    this.#locals.set(lower, this.table.global(lower));
    return true;
  }

  /** Why `name` can't be assigned to, undefined when it can. */
  nameProblem(name: string): string | undefined {
    if (name.includes(".") && /^[\w.]+$/.test(name) && !/^\d/.test(name)) {
      const space = name.slice(0, name.indexOf(".")).toLowerCase();
      if (space === "global" && this.enabled.has("include")) return undefined;
      if (this.namespaces.has(space)) return `cannot assign to variable '${name}'`;
      return `referring to variable in unknown namespace '${space}'`;
    }
    if (/^\d+$/.test(name)) return `cannot assign to match variable '${name}'`;
    if (!identifier.test(name)) return `invalid variable name '${name}'`;
    if (!this.#locals.has(name.toLowerCase()) && this.#locals.size >= this.#limits.variables) {
      return `declaration of variable '${name}' exceeds the limit of ${this.#limits.variables} variables`;
    }
    return undefined;
  }

  /** Text with its encoded characters decoded, when the script asked for that. */
  decode(text: string): string {
    if (!text.includes("${") || !this.enabled.has("encoded-character")) return text;
    return text.replace(encoded, (whole, kind: string, digits: string) => {
      const words = digits.trim().split(/\s+/);
      if (words[0] === "") return whole;
      if (kind.toLowerCase() === "hex") {
        if (words.some((word) => word.length > 2)) return whole;
        return Buffer.from(words.map((word) => Number.parseInt(word, 16))).toString("utf8");
      }
      const points = words.map((word) => Number.parseInt(word, 16));
      return points.every(isScalar) ? String.fromCodePoint(...points) : "";
    });
  }

  problems(text: string): string[] {
    if (!text.includes("${")) return [];
    const found: string[] = [];
    if (this.enabled.has("encoded-character")) {
      for (const [, kind, digits] of text.matchAll(encoded)) {
        if (kind!.toLowerCase() !== "unicode") continue;
        for (const word of digits!.trim().split(/\s+/)) {
          const point = Number.parseInt(word, 16);
          if (word !== "" && !isScalar(point)) {
            found.push(
              `invalid unicode character 0x${point.toString(16).padStart(8, "0")} in encoded character substitution`,
            );
          }
        }
      }
    }
    if (!this.hasVariables) return found;
    for (const [, name] of this.decode(text).matchAll(reference)) {
      if (/^\d/.test(name!)) {
        if (Number(name) > this.#limits.matchValues) {
          found.push(`match value index ${name} out of range (max: ${this.#limits.matchValues})`);
        }
      } else if (name!.includes(".")) {
        const space = name!.slice(0, name!.indexOf(".")).toLowerCase();
        const known = this.namespaces.has(space) || (space === "global" && this.enabled.has("include"));
        if (!known) found.push(`referring to variable in unknown namespace '${space}'`);
      } else {
        const problem = this.nameProblem(name!);
        if (problem) found.push(problem);
      }
    }
    return found;
  }

  /** The value of a string of the script. */
  value(text: string): Value {
    const decoded = this.decode(text);
    if (!this.hasVariables || !decoded.includes("${")) return { op: "const", text: decoded };
    const parts: Value[] = [];
    let from = 0;
    for (const match of decoded.matchAll(reference)) {
      const value = this.#reference(match[1]!);
      if (value === undefined) continue;
      if (match.index > from) parts.push({ op: "const", text: decoded.slice(from, match.index) });
      parts.push(value);
      from = match.index + match[0].length;
    }
    if (from < decoded.length || parts.length === 0) parts.push({ op: "const", text: decoded.slice(from) });
    return parts.length === 1 ? parts[0]! : { op: "concat", parts };
  }

  #reference(name: string): Value | undefined {
    if (/^\d/.test(name)) return { op: "host", name: "matchVariable", args: [], data: { index: Number(name) } };
    const space = name.includes(".") ? this.namespaces.get(name.slice(0, name.indexOf(".")).toLowerCase()) : undefined;
    if (space !== undefined) {
      return { op: "host", name: space, args: [], data: { name: name.slice(name.indexOf(".") + 1) } };
    }
    const slot = this.slot(name);
    return slot === undefined ? undefined : { op: "slot", slot };
  }
}

/** The text depends on variables of the run. */
export function hasSubstitution(text: string, scope: Scope): boolean {
  if (!scope.hasVariables || !text.includes("${")) return false;
  reference.lastIndex = 0;
  const found = reference.test(scope.decode(text));
  reference.lastIndex = 0;
  return found;
}

function isScalar(point: number): boolean {
  return point <= 0x10ffff && !(point >= 0xd800 && point <= 0xdfff);
}
