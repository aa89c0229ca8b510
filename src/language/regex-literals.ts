/**
 * What literal text a regular expression needs: a small set of strings of which every match contains at least one,
 * compared under foldCoarse. Lets thousands of patterns share one literal scan (literals.ts).
 *
 * Invariants: conservative; whatever this reader is not sure of makes the answer undefined ("no such set known"), never
 * a wrong set. It reads the syntax that regex.ts accepts and needs not find faults. Failure: none.
 */

/** Shorter literals occur everywhere and would sift nothing. */
const shortestUseful = 3;
const mostAlternatives = 64;

/** Literals of which every match contains one, or undefined. */
export function requiredLiterals(pattern: string): string[] | undefined {
  const reader = new Reader([...pattern]);
  const need = reader.alternatives();
  return reader.lost || !reader.atEnd ? undefined : need;
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

  /** Every branch must need something; then one of all these is needed. */
  alternatives(): string[] | undefined {
    let all: string[] | undefined = [];
    do {
      const branch = this.sequence();
      all = all && branch && all.length + branch.length <= mostAlternatives ? [...all, ...branch] : undefined;
    } while (this.take("|"));
    return all;
  }

  private sequence(): string[] | undefined {
    let best: string[] | undefined;
    let run = "";
    const endRun = (): void => {
      if (run.length >= shortestUseful) best = better(best, [run]);
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
        if (atom && repeat !== "optional") best = better(best, atom);
      }
    }
    endRun();
    return best;
  }

  /** A literal character, what a group needs, or undefined for anything else. */
  private atom(): string | string[] | undefined {
    const char = this.next();
    if (char === "\\") return this.escape();
    if (char === "[") return this.skipClass();
    if (char === "(") return this.group();
    if (char === "." || char === "^" || char === "$") return undefined;
    return char;
  }

  private escape(): string | undefined {
    const char = this.next();
    if (/^[^A-Za-z0-9]$/u.test(char)) return char;
    if (char === "p" || char === "P") {
      if (this.take("{")) this.skipPast("}");
      else this.at++;
    } else if (!/^[dDwWsSbBAz]$/.test(char)) this.lost = true;
    return undefined;
  }

  private skipClass(): undefined {
    this.take("^");
    this.take("]");
    while (!this.atEnd && this.peek() !== "]") {
      const char = this.next();
      if (char === "\\") this.at++;
      else if (char === "[" && this.take(":")) this.skipPast("]");
    }
    this.at++;
  }

  private group(): string[] | undefined {
    if (this.take("?")) {
      if (this.take("P") || this.peek() === "<") {
        if (/^[=!]$/.test(this.chars[this.at + 1] ?? "")) this.lost = true;
        this.skipPast(">");
      } else {
        while (/^[imsU-]$/.test(this.peek())) this.at++;
        if (this.take(")")) return undefined;
        if (!this.take(":")) this.lost = true;
      }
    }
    const need = this.alternatives();
    if (!this.take(")")) this.lost = true;
    return need;
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
        const counts = /^\{(\d+)(,\d*)?\}/.exec(this.chars.slice(this.at, this.at + 12).join(""));
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

/** The set whose shortest literal is longer sifts better. */
function better(a: string[] | undefined, b: string[]): string[] {
  return a && shortest(a) >= shortest(b) ? a : b;
}

function shortest(literals: readonly string[]): number {
  return Math.min(...literals.map((literal) => literal.length));
}
