/** What a row of the table of variables is, and the types that many of them share. */
import type { AccessMap } from "../events.ts";

/** vendor: seen in the original's documents or output. dname: the behaviour is, the spelling is chosen here. ours: added. */
export type Origin = "vendor" | "dname" | "ours";

export type ValueType =
  | { kind: "text" | "ip" | "hostname" }
  | { kind: "numeric"; min: number; max: number; unit?: string }
  | { kind: "choice"; values: readonly string[]; aliases?: Readonly<Record<string, string>> }
  /** Words divided by blanks. */
  | { kind: "words"; values?: readonly string[] }
  /** Several strings; a test is true when it holds for one of them. */
  | { kind: "values" };

export interface VariableRow {
  name: string;
  type: ValueType;
  access: AccessMap;
  /** Value at the beginning of a session of its context. */
  default: string;
  /** How long a value stays: until changed, for one transaction, for one event, or for one report. */
  lifetime: "session" | "message" | "command" | "report";
  doc: string;
  source: string;
  origin: Origin;
  /** Set in onRcptTo it overrides this recipient's route (smtpfilters.md §8.1), wherever it is read from. */
  route?: true;
  /** Predefined method that fills it. */
  producer?: string;
  /** Computed at the first reading after its inputs changed (§5.4). */
  lazy?: string;
  /** `%name%` of these stays a placeholder when the target is this variable's template (§8.3). */
  template?: readonly string[];
}
export const text: ValueType = { kind: "text" };
export const ip: ValueType = { kind: "ip" };
export const hostname: ValueType = { kind: "hostname" };
export const yesNo: ValueType = { kind: "choice", values: ["yes", "no"] };
export const delivery: ValueType = { kind: "choice", values: ["all", "auth", "none"] };
export const port: ValueType = { kind: "numeric", min: 0, max: 65_535 };
export const count = { kind: "numeric", min: 0, max: 4_294_967_295 } as const satisfies ValueType;
export const mechanisms: ValueType = {
  kind: "words",
  values: ["plain", "login", "cram-md5", "digest-md5", "gssapi", "scram-sha-256", "all", "none"],
};

type RowOptions = Partial<Omit<VariableRow, "name" | "type" | "access" | "doc">>;

export function row(
  name: string,
  type: ValueType,
  access: AccessMap,
  doc: string,
  options: RowOptions = {},
): VariableRow {
  return { name, type, access, doc, default: "", lifetime: "session", source: "§5", origin: "vendor", ...options };
}
