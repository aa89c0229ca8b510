/**
 * Takes personal values out of a record before it reaches the disk: each value of a redacted field becomes a keyed
 * pseudonym, wherever it occurs in the record. Equal values get equal pseudonyms for as long as the key lives, so that
 * grouping still works; the domain of an address and the network of an IP address stay, because rules test them.
 * Failure: none. What can't be taken apart is replaced whole.
 */
import { createHmac } from "node:crypto";
import { isIP } from "node:net";
import type { DecisionRecord } from "./types.ts";

export class Redactor {
  readonly #variables: ReadonlySet<string>;
  readonly #headers: readonly string[];
  readonly #key: string;

  /** `fields`: names of variables, or "header:subject"; `key`: secret of this installation. */
  constructor(fields: readonly string[], key: string) {
    const named = fields.filter((field) => !field.startsWith("header:")).map((f) => f.toLowerCase());
    // Reports name the recipient under other names.
    this.#variables = new Set([...named, ...(named.includes("rcptto") ? ["ndrrcptaddress", "dsnrcptaddress"] : [])]);
    this.#headers = fields.filter((f) => f.startsWith("header:")).map((f) => f.slice("header:".length).toLowerCase());
    this.#key = key;
  }

  /** The record as JSON text without those values. */
  text({ people, ...record }: DecisionRecord): string {
    if (this.#variables.size === 0 && this.#headers.length === 0) return JSON.stringify(record);
    const header = record.header === undefined ? undefined : this.#header(record.header);
    // Names that DNS was asked for hold addresses in other forms: where answers came from is left out.
    const facts = record.facts.map(([name, inputs, answer, ms]) => {
      const hide = name === "header" && this.#headers.includes(inputs[0] ?? "") && Array.isArray(answer);
      return [name, inputs, hide ? (answer as string[]).map((value) => this.pseudonym(value)) : answer, ms] as const;
    });
    const copy = { ...record, facts, ...(header === undefined ? {} : { header }) };
    const values = new Set<string>();
    if (people && this.#variables.has("mailfrom") && people.mailFrom !== "") values.add(people.mailFrom);
    if (people && this.#variables.has("rcptto")) for (const address of people.rcptTo) values.add(address);
    for (const [name, value] of Object.entries(record.later?.exports ?? {})) {
      if (value !== "" && this.#variables.has(name.toLowerCase())) values.add(value);
    }
    for (const step of record.steps) {
      for (const [name, value] of Object.entries(step.in ?? {})) {
        if (value !== "" && this.#variables.has(name.toLowerCase())) values.add(value);
      }
    }
    // Longest first: an address holds its local part.
    const pairs = [...values]
      .sort((a, b) => b.length - a.length)
      .map((value) => [value, this.pseudonym(value)] as const);
    return JSON.stringify(copy, (_key, value: unknown) => {
      if (typeof value !== "string") return value;
      let text = value;
      for (const [from, to] of pairs) text = text.replaceAll(from, to);
      return text;
    });
  }

  /** "bob@example.org" → "~3f2a…@example.org"; 198.51.100.7 → 198.51.100.0; other texts whole. */
  pseudonym(value: string): string {
    if (isIP(value) === 4) return value.replace(/\d+$/, "0");
    if (isIP(value) === 6) return `${value.split(":").slice(0, 3).join(":").replace(/:+$/, "")}::`;
    const at = value.lastIndexOf("@");
    const hidden = at < 0 ? value : value.slice(0, at);
    const mark = createHmac("sha256", this.#key).update(hidden).digest("hex").slice(0, 10);
    return at < 0 ? `~${mark}` : `~${mark}${value.slice(at)}`;
  }

  #header(section: string): string {
    // A field with its folded lines (RFC 5322 §2.2.3).
    return section.replace(/^([^\s:]+):[^\n]*\n(?:[ \t][^\n]*\n)*/gm, (field, name: string) =>
      this.#headers.includes(name.toLowerCase())
        ? `${name}: ${this.pseudonym(field.slice(name.length + 1))}\r\n`
        : field,
    );
  }
}
