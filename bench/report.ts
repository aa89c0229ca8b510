/** What a benchmark hands to the driver: tables and remarks, printed as Markdown or JSON. */

export interface Table {
  title: string;
  columns: readonly string[];
  rows: ReadonlyArray<ReadonlyArray<string | number>>;
}

export interface Report {
  tables: readonly Table[];
  /** What the figures mean, and what could not be measured. */
  notes: readonly string[];
}

export interface BenchOptions {
  /** Fewer points and rounds: under a minute a question. */
  quick: boolean;
  /** Measure the peers too. */
  peers: boolean;
  /** Worker processes of the gateway; the question's own default when undefined. */
  workers?: number;
}

/** Rows of plain objects as a table; columns are the keys, in the order in which they first appear. */
export function tableOf(title: string, objects: readonly object[]): Table {
  const columns = [...new Set(objects.flatMap((object) => Object.keys(object)))];
  const rows = objects.map((object) => columns.map((column) => cell((object as Record<string, unknown>)[column])));
  return { title, columns, rows };
}

function cell(value: unknown): string | number {
  if (typeof value === "number") return Number.isInteger(value) ? value : Number(value.toPrecision(4));
  return value === undefined ? "–" : String(value);
}

export function markdown(report: Report): string {
  const tables = report.tables.map(({ title, columns, rows }) =>
    [
      `**${title}**\n`,
      `| ${columns.join(" | ")} |`,
      `|${columns.map(() => "---").join("|")}|`,
      ...rows.map((row) => `| ${row.join(" | ")} |`),
    ].join("\n"),
  );
  const notes = report.notes.map((note) => `- ${note}`).join("\n");
  return [...tables, ...(notes ? [notes] : [])].join("\n\n");
}
