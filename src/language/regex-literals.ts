/**
 * What literal text a regular expression needs: sets of strings, of each of which every match contains at least one,
 * compared under foldCoarse. Lets thousands of patterns share one literal scan (literals.ts).
 *
 * Invariants: conservative; whatever this reader is not sure of makes it know no set, never a wrong one. It reads the
 * syntax that regex.ts accepts and needs not find faults. Failure: none.
 */

/** Shorter literals occur everywhere and would sift nothing. */
const shortestUseful = 3;
const mostAlternatives = 64;
const mostSets = 8;

/** One of these occurs in every match. */
export type LiteralSet = readonly string[];

/** All sets found; the caller takes the one that sifts best among its other patterns. */
export function requiredLiterals(pattern: string): readonly LiteralSet[] {
  const reader = new Reader([...pattern]);
  const sets = reader.alternatives();
  return reader.lost || !reader.atEnd ? [] : sets;
}

class Reader {
  /** Met something that this reader does not know. */
  lost = false;
  private readonly chars: readonly string[];
  private at = 0;

  constructor(chars: readonly string[]) {
    this.chars = chars;
  }

  get atEnd(): boolean {
    return this.at >= this.chars.length;
  }

  /** One branch: its sets. Several: every branch must need something; one of all their best literals is needed. */
  alternatives(): LiteralSet[] {
    const branches = [this.sequence()];
    while (this.take("|")) branches.push(this.sequence());
    if (branches.length === 1) return branches[0]!;
    const union: string[] = [];
    for (const sets of branches) {
      const best = mostSelective(sets);
      if (!best) return [];
      union.push(...best);
    }
    return union.length <= mostAlternatives ? [union] : [];
  }

  private sequence(): LiteralSet[] {
    const sets: LiteralSet[] = [];
    let run = "";
    const endRun = (): void => {
      if (run.length >= shortestUseful) sets.push([run]);
      run = "";
    };
    while (!this.atEnd && !this.lost && this.peek() !== "|" && this.peek() !== ")") {
      const atom = this.atom();
      const repeat = this.repetition();
      if (typeof atom === "string") {
        if (repeat !== "optional") run += atom;
        if (repeat !== "once") endRun();
      } else {
        endRun();
        if (repeat !== "optional") sets.push(...atom);
      }
    }
    endRun();
    return sets.slice(0, mostSets);
  }

  /** A literal character, or what a group needs; anything else needs nothing. */
  private atom(): string | LiteralSet[] {
    const char = this.next();
    if (char === "\\") return this.escape();
    if (char === "[") this.skipClass();
    else if (char === "(") return this.group();
    else if (char !== "." && char !== "^" && char !== "$") return char;
    return [];
  }

  private escape(): string | LiteralSet[] {
    const char = this.next();
    if (/^[^A-Za-z0-9]$/u.test(char)) return char;
    if (char === "p" || char === "P") {
      if (this.take("{")) this.skipPast("}");
      else this.at++;
    } else if (!/^[dDwWsSbBAz]$/.test(char)) this.lost = true;
    return [];
  }

  private skipClass(): void {
    this.take("^");
    this.take("]");
    while (!this.atEnd && this.peek() !== "]") {
      const char = this.next();
      if (char === "\\") this.at++;
      else if (char === "[" && this.take(":")) this.skipPast("]");
    }
    this.at++;
  }

  private group(): LiteralSet[] {
    if (this.take("?")) {
      if (this.take("P") || this.peek() === "<") {
        if (/^[=!]$/.test(this.chars[this.at + 1] ?? "")) this.lost = true;
        this.skipPast(">");
      } else {
        while (/^[imsU-]$/.test(this.peek())) this.at++;
        if (this.take(")")) return [];
        if (!this.take(":")) this.lost = true;
      }
    }
    const sets = this.alternatives();
    if (!this.take(")")) this.lost = true;
    return sets;
  }

  /** Reads the quantifiers after an atom. */
  private repetition(): "once" | "optional" | "repeated" {
    let [optional, repeated] = [false, false];
    for (;;) {
      if (this.take("*")) optional = true;
      else if (this.take("+")) repeated = true;
      // After another quantifier, "?" only makes it lazy.
      else if (this.take("?")) optional ||= !repeated;
      else {
        const counts =
          this.peek() === "{" && /^\{(\d+)(,\d*)?\}/.exec(this.chars.slice(this.at, this.at + 12).join(""));
        if (!counts) break;
        this.at += counts[0].length;
        if (Number(counts[1]) === 0) optional = true;
        else repeated = true;
      }
    }
    return optional ? "optional" : repeated ? "repeated" : "once";
  }

  private peek(): string {
    return this.chars[this.at] ?? "";
  }

  private next(): string {
    return this.chars[this.at++] ?? "";
  }

  private take(char: string): boolean {
    if (this.peek() !== char) return false;
    this.at++;
    return true;
  }

  private skipPast(char: string): void {
    while (!this.atEnd && this.next() !== char);
  }
}

/** The set whose shortest literal is longest. */
export function mostSelective(sets: readonly LiteralSet[]): LiteralSet | undefined {
  let best: LiteralSet | undefined;
  for (const set of sets) if (!best || shortest(set) > shortest(best)) best = set;
  return best;
}

function shortest(set: LiteralSet): number {
  return Math.min(...set.map((literal) => literal.length));
}
