/**
 * Texts that a pattern matches, found by reading it: each part at its fewest repetitions, then at its fewest but at
 * least one. The caller tries them: a pattern this reader does not understand gives texts that do not match, or none.
 * Failure: none. Bounded by the pattern's length times `mostRepeats` for each nesting level of counted repetition,
 * cut at `longestSample`.
 */
const mostRepeats = 64;
const longestSample = 4_096;

/** Sieve glob: `*` becomes `wild`, `?` a letter, `\x` is x. */
export function sampleGlob(glob: string, wild: string): string {
  return glob.replace(/\\(.)|[*?]/gs, (sign, escaped: string | undefined) => escaped ?? (sign === "*" ? wild : "x"));
}

export function sampleRegex(pattern: string): string[] {
  const samples = new Set<string>();
  for (const least of [0, 1]) {
    for (const branch of [0, 1]) {
      const reader = new Sampler([...pattern], least, branch);
      const text = reader.alternatives();
      if (reader.atEnd && text.length <= longestSample) samples.add(text);
    }
  }
  return [...samples];
}

const classLetters: Readonly<Record<string, string>> = { d: "0", w: "a", s: " ", D: "x", W: "-", S: "x" };
const controls: Readonly<Record<string, string>> = { t: "\t", n: "\n", r: "\r", f: "\f", v: "\v" };
/** Tried in turn for a negated class. */
const letters = "xa0 -_.@!~";

class Sampler {
  private readonly chars: readonly string[];
  private readonly least: number;
  /** Which alternative is taken, where there are so many. */
  private readonly branch: number;
  private at = 0;

  constructor(chars: readonly string[], least: number, branch: number) {
    this.chars = chars;
    this.least = least;
    this.branch = branch;
  }

  get atEnd(): boolean {
    return this.at >= this.chars.length;
  }

  alternatives(): string {
    const branches = [this.sequence()];
    while (this.take("|")) branches.push(this.sequence());
    return branches[Math.min(this.branch, branches.length - 1)]!;
  }

  private sequence(): string {
    let out = "";
    while (!this.atEnd && this.peek() !== "|" && this.peek() !== ")") {
      const atom = this.atom();
      const times = this.repeats();
      if (out.length < longestSample) out += atom.repeat(times);
    }
    return out;
  }

  private atom(): string {
    const char = this.next();
    if (char === "(") return this.group();
    if (char === "[") return this.characterClass();
    if (char === "^" || char === "$") return "";
    if (char === ".") return "x";
    return char === "\\" ? this.escape() : char;
  }

  private group(): string {
    if (this.take("?")) while (!this.atEnd && this.peek() !== ")" && !/[:>]/.test(this.peek())) this.next();
    if (this.peek() === ":" || this.peek() === ">") this.next();
    const inner = this.alternatives();
    this.take(")");
    return inner;
  }

  private escape(): string {
    const char = this.next();
    if (/[bBAzZ]/.test(char)) return "";
    if (char !== "Q") return classLetters[char] ?? controls[char] ?? char;
    let quoted = "";
    while (!this.atEnd && !(this.peek() === "\\" && this.chars[this.at + 1] === "E")) quoted += this.next();
    this.at += 2;
    return quoted;
  }

  private characterClass(): string {
    const negated = this.take("^");
    const ranges: Array<[string, string]> = [];
    for (let first = true; !this.atEnd && (first || this.peek() !== "]"); first = false) {
      const char = this.next();
      const low = char === "\\" ? this.escape() : char;
      if (this.peek() === "-" && this.chars[this.at + 1] !== "]") {
        this.next();
        ranges.push([low, this.next()]);
      } else ranges.push([low, low]);
    }
    this.take("]");
    if (!negated) return ranges[0]?.[0] ?? "";
    return [...letters].find((letter) => !ranges.some(([low, high]) => letter >= low && letter <= high)) ?? "";
  }

  private repeats(): number {
    let times = 1;
    if (this.take("*") || this.take("?")) times = this.least;
    else if (!this.take("+") && this.peek() === "{") {
      const counted = /^\{(\d+)(?:,\d*)?\}/.exec(this.chars.slice(this.at, this.at + 16).join(""));
      if (!counted) return 1;
      this.at += counted[0].length;
      times = Math.min(Math.max(Number(counted[1]), this.least), mostRepeats);
    }
    this.take("?");
    return times;
  }

  private peek(): string {
    return this.chars[this.at] ?? "";
  }

  private next(): string {
    return this.chars[this.at++] ?? "";
  }

  private take(char: string): boolean {
    if (this.peek() !== char || this.atEnd) return false;
    this.at++;
    return true;
  }
}
