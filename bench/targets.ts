/**
 * What the figures of RESULTS.md have to reach, and the summary of it, made from the recorded tables alone: what was
 * measured, and whether it holds. A target whose figure is in no table says so.
 */

/** A table as it stands in RESULTS.md. */
interface Recorded {
  title: string;
  columns: string[];
  rows: string[][];
}

interface Target {
  question: string;
  what: string;
  /** What the figure is held against. */
  bound: { atLeast: number } | { atMost: number };
  /** The figure; undefined when it was not recorded. */
  figure(tables: readonly Recorded[]): number | undefined;
}

const atLeast = (bound: number): Target["bound"] => ({ atLeast: bound });
const atMost = (bound: number): Target["bound"] => ({ atMost: bound });

/** How many times ours a server is, in the table that begins with `title`; ours as shipped, when several were measured. */
function ratio(title: string, load: string, server: string): Target["figure"] {
  return (tables) => {
    const table = tables.find((one) => one.title.startsWith(title));
    const column = table?.columns.find((name) => name.endsWith("÷ this"));
    return column === undefined ? undefined : cell(table, { load, server }, column);
  };
}

/** A column's figure in the first row that has these values, in the table that begins with `title`. */
function figure(title: string, where: Readonly<Record<string, string>>, column: string): Target["figure"] {
  return (tables) =>
    cell(
      tables.find((one) => one.title.startsWith(title)),
      where,
      column,
    );
}

function quotient(above: Target["figure"], below: Target["figure"]): Target["figure"] {
  return (tables) => {
    const [a, b] = [above(tables), below(tables)];
    return a === undefined || b === undefined ? undefined : a / b;
  };
}

const many = "4 KiB, many, 100 sessions";
const one = "4 KiB, one, 100 sessions";
const large = "64 KiB, many, 20 sessions";
const policyCost = (rules: string, column: string): Target["figure"] =>
  figure("Cost of rules", { engine: "indexed", rules }, column);
const sieveCost = (rules: string, column: string): Target["figure"] => figure("Sieve", { rules }, column);

const ratios = (
  question: string,
  title: string,
  bounds: ReadonlyArray<readonly [load: string, server: string, bound: number]>,
): Target[] =>
  bounds.map(([load, server, bound]) => ({
    question,
    what: `${load}: ${question === "smtp" && server === "net" ? "share of a bare responder" : `times ${server}`}`,
    bound: atLeast(bound),
    figure: ratio(title, load, server),
  }));

const targets: readonly Target[] = [
  ...ratios("durable", "Durable accept", [
    [many, "Postfix", 6],
    [many, "Haraka", 5],
    [one, "Postfix", 2.5],
    [one, "Haraka", 3.5],
    [large, "Postfix", 3],
  ]),
  {
    question: "durable",
    what: "messages a sync, counted by strace",
    bound: atLeast(1),
    figure: figure("Syncs", {}, "messages a sync"),
  },
  ...ratios("smtp", "Accept and discard", [
    [many, "Haraka", 4.5],
    [one, "Haraka", 3],
    [many, "net", 0.6],
    [one, "net", 0.6],
  ]),
  ...ratios("relay", "Relay, durable", [
    [many, "Postfix", 3.5],
    [many, "Haraka", 3.5],
    ["4 KiB, one, 20 sessions", "Postfix", 2],
    [large, "Postfix", 2.5],
  ]),
  {
    question: "scaling",
    what: "two workers on two cores, times one, by CPU time: durable",
    bound: atLeast(1.7),
    figure: figure("Scaling", { load: many }, "scaling"),
  },
  {
    question: "policy",
    what: "100,000 rules, none true: cost ÷ that of 10",
    bound: atMost(2),
    figure: quotient(policyCost("100000", "noneMicros"), policyCost("10", "noneMicros")),
  },
  {
    question: "policy",
    what: "100,000 rules, the last true: cost ÷ that of 10",
    bound: atMost(2),
    figure: quotient(policyCost("100000", "lastMicros"), policyCost("10", "lastMicros")),
  },
  {
    question: "policy",
    what: "10,000 rules as a script: compiled in ms",
    bound: atMost(1_500),
    figure: figure("Cost of rules", { engine: "smtpFilters script" }, "compileMs"),
  },
  {
    question: "policy",
    what: "10,000 header rules: times as quick as Postfix's header_checks",
    bound: atLeast(100),
    figure: quotient(
      figure("Cost of rules", { engine: "Postfix header_checks regexp", rules: "10000" }, "noneMicros"),
      policyCost("10000", "noneMicros"),
    ),
  },
  {
    question: "lists",
    what: "a list of 1,000,000 addresses reloaded, ms",
    bound: atMost(5_000),
    figure: figure("Named lists", { kind: "senders.txt" }, "reloadMs"),
  },
  {
    question: "lists",
    what: "longest pause meanwhile, ms",
    bound: atMost(10),
    figure: figure("Named lists", { kind: "senders.txt" }, "worstBlockMs"),
  },
  {
    question: "sieve",
    what: "50 rules: times as quick as Pigeonhole",
    bound: atLeast(2),
    figure: quotient(sieveCost("50", "pigeonholeExecute"), sieveCost("50", "execute")),
  },
  {
    question: "sieve",
    what: "2,000 rules: times as quick as Pigeonhole",
    bound: atLeast(20),
    figure: quotient(sieveCost("2000", "pigeonholeExecute"), sieveCost("2000", "execute")),
  },
  {
    question: "sieve",
    what: "10,000 rules: cost ÷ that of 50",
    bound: atMost(3),
    figure: quotient(sieveCost("10000", "execute"), sieveCost("50", "execute")),
  },
  {
    question: "sieve",
    what: "2,000 rules compiled, ms",
    bound: atMost(100),
    figure: sieveCost("2000", "compile"),
  },
  {
    question: "memory",
    what: "idle session, plain, KiB",
    bound: atMost(12),
    figure: figure("Idle sessions", { server: "Postern, 1 worker", kind: "plain" }, "KiB a session"),
  },
  {
    question: "memory",
    what: "idle session, TLS, KiB",
    bound: atMost(28),
    figure: figure("Idle sessions", { server: "Postern, 1 worker", kind: "STARTTLS" }, "KiB a session"),
  },
  {
    question: "memory",
    what: "backlog of 1,000,000: the worker's MiB",
    bound: atMost(512),
    figure: figure("Backlog", { what: "its worker, MiB (peak)" }, "figure"),
  },
  {
    question: "start",
    what: "cold start, ms",
    bound: atMost(1_500),
    figure: figure("From command", { server: "Postern, 1 worker" }, "ms"),
  },
  {
    question: "start",
    what: "reload of 10,000 rules, ms",
    bound: atMost(2_000),
    figure: figure("Reload", {}, "reload command, ms"),
  },
  {
    question: "start",
    what: "longest pause of a session meanwhile, ms",
    bound: atMost(10),
    figure: figure("Reload", {}, "longest pause, ms"),
  },
];

/** @param sections of RESULTS.md, by question */
export function summary(sections: ReadonlyMap<string, string>): string {
  const rows = targets.map((target) => {
    const section = sections.get(target.question);
    const measured = section === undefined ? undefined : target.figure(tablesOf(section));
    const [sign, bound] = "atLeast" in target.bound ? ["≥", target.bound.atLeast] : ["≤", target.bound.atMost];
    const held =
      measured === undefined
        ? "not measured"
        : (sign === "≥" ? measured >= bound : measured <= bound)
          ? "held"
          : "missed";
    const figure = measured === undefined ? "–" : Number(measured.toPrecision(3)).toLocaleString("en-US");
    return `| ${target.question} | ${target.what} | ${sign} ${bound.toLocaleString("en-US")} | ${figure} | ${held} |`;
  });
  return ["| question | what | target | measured | |", "|---|---|---|---|---|", ...rows].join("\n");
}

export function tablesOf(section: string): Recorded[] {
  return section
    .split(/^(?=\*\*)/m)
    .filter((text) => text.startsWith("**"))
    .map((text) => {
      const title = /^\*\*(.*)\*\*/.exec(text)?.[1] ?? "";
      const lines = text.split("\n").filter((line) => line.startsWith("| "));
      const [columns = [], ...rows] = lines.map((line) => line.slice(2, -2).split(" | "));
      return { title, columns, rows };
    });
}

/** "1,234 ±5 %" is 1234. */
function cell(
  table: Recorded | undefined,
  where: Readonly<Record<string, string>>,
  column: string,
): number | undefined {
  const at = (name: string): number => table?.columns.indexOf(name) ?? -1;
  const row = table?.rows.find((cells) => Object.entries(where).every(([name, value]) => cells[at(name)] === value));
  const figure = Number.parseFloat(row?.[at(column)]?.replaceAll(",", "") ?? "");
  return Number.isNaN(figure) ? undefined : figure;
}
