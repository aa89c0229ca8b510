/** What can be written at a cursor of a smtpFilters script: the vocabulary of the events it runs in, and own names. Pure. */
import { CompletionItemKind as Kind } from "vscode-languageserver/node";
import { eventDocs, eventNames } from "../../../policy/events.ts";
import { findVariable } from "../../../policy/names.ts";
import type { EventName } from "../../../policy/types.ts";
import { variables } from "../../../policy/variables.ts";
import { actions, comparators, methods, onErrorWords, otherTests } from "../../../policy/vocabulary.ts";
import type { Completion, Range } from "../language.ts";
import type { Cursor } from "./cursor.ts";
import { actionWords, comparatorWords, methodWords, typeWords, variableWords } from "./describe.ts";

/** Names of the script at hand. */
export interface OwnNames {
  methods: readonly string[];
  /** Called and not defined. */
  missingMethods: readonly string[];
  variables: readonly string[];
  definedEvents: ReadonlySet<string>;
}

/** `events`: where the block around the cursor runs; empty when nothing calls it. */
export function completions(cursor: Cursor, events: readonly EventName[], own: OwnNames): Completion[] {
  return new Completer(cursor.word, events.length > 0 ? events : eventNames, own).at(cursor);
}

const choice = { kind: "choice", values: [] } as const;

class Completer {
  private readonly replace: Range;
  private readonly events: readonly EventName[];
  private readonly own: OwnNames;

  constructor(replace: Range, events: readonly EventName[], own: OwnNames) {
    this.replace = replace;
    this.events = events;
    this.own = own;
  }

  at({ place }: Cursor): Completion[] {
    switch (place.kind) {
      case "nothing":
        return [];
      case "block":
        return [
          this.form("event", "event <onConnect> {\n  <>\n}", "A block that runs at its moment."),
          this.form("method", "method <Name> {\n  <>\n}", "A block that is called."),
        ];
      case "eventName":
        return eventNames
          .filter((name) => !this.own.definedEvents.has(name))
          .map((name) => this.item(name, Kind.Event, { doc: eventDocs[name] }));
      case "methodName":
        return this.own.missingMethods.map((name) => this.item(name, Kind.Method, { detail: "called, not defined" }));
      case "statement":
        return this.statements(place.afterIf);
      case "method":
        return [
          ...this.own.methods.map((name) => this.item(name, Kind.Method, { detail: "of this script" })),
          ...methods
            .filter((row) => this.anyOf(row.events))
            .map((row) => this.item(row.name, Kind.Function, { detail: row.kind, doc: methodWords(row) })),
        ];
      case "onError":
        return [this.form("onError", `onError <${onErrorWords.join("|")}>`, "What happens when the check fails.")];
      case "onErrorWord":
        return onErrorWords.map((word) => this.item(word, Kind.EnumMember));
      case "target":
        return place.of === "set" ? this.variables("write") : this.variables("read");
      case "test":
        return this.tests();
      case "subject":
        return [
          ...this.variables("read"),
          this.form("header", 'header ("<Subject>")', "Values of the header fields of that name."),
        ];
      case "value":
        return this.values(place.variable, place.use);
      case "expansion":
        return this.variables("read").map((item) => ({ ...item, insert: `${item.label}%` }));
    }
  }

  private item(label: string, kind: Kind, more: Partial<Completion> = {}): Completion {
    return { label, kind, replace: this.replace, ...more };
  }

  private form(label: string, insert: string, doc: string): Completion {
    return this.item(label, Kind.Keyword, { ...snippet(insert), doc });
  }

  private anyOf(events: readonly EventName[]): boolean {
    return events.some((event) => this.events.includes(event));
  }

  private statements(afterIf: boolean): Completion[] {
    const forms = [
      this.form("call", "call (<method>);", "Runs a method or a check."),
      this.form("set", 'set (<variable>, "<>");', "Sets a variable."),
      this.form("if", "if (<test>) {\n  <>\n}", "Runs the block when the test is true."),
      this.form("export", "export (<variable>);", "Keeps a variable for the rest of the message's life."),
      this.form("rule", 'rule "<name>" {\n  <>\n}', "Names a group of statements in explanations and logs."),
    ];
    if (afterIf) forms.push(this.form("else", "else {\n  <>\n}", "Runs when no test before it was true."));
    const rows = actions.filter((row) => this.anyOf(row.events));
    return [
      ...forms,
      ...rows.map((row) =>
        this.item(row.name, Kind.Function, { ...snippet(`${row.name} ("<>");`), doc: actionWords(row) }),
      ),
    ];
  }

  private tests(): Completion[] {
    return [
      this.form("anyOf", "anyOf (<>)", "One of the tests is true."),
      this.form("allOf", "allOf (<>)", "All tests are true."),
      this.form("not", "not (<>)", "The test is false."),
      ...comparators.map((row) =>
        this.item(row.name, Kind.Operator, {
          ...snippet(`${row.name} (<variable>, "<>")`),
          doc: comparatorWords(row),
        }),
      ),
      ...otherTests.map((row) =>
        this.item(row.name, Kind.Operator, {
          ...snippet(`${row.name} (<>)`),
          detail: row.usage,
          doc: row.doc,
        }),
      ),
    ];
  }

  private variables(use: "read" | "write"): Completion[] {
    const found = new Map<string, Completion>();
    for (const row of variables) {
      const usable = this.events.some((event) => {
        const access = row.access[event];
        return access === "rw" || access === (use === "read" ? "ro" : "wo");
      });
      if (!usable || found.has(row.name)) continue;
      const doc = variableWords(row, row.name, this.events.length > 3 ? [] : this.events);
      found.set(row.name, this.item(row.name, Kind.Variable, { detail: typeWords(row.type), doc }));
    }
    for (const name of this.own.variables) {
      if (!found.has(name)) found.set(name, this.item(name, Kind.Variable, { detail: "of this script" }));
    }
    return [...found.values()];
  }

  private values(variable: string, use: "read" | "write"): Completion[] {
    const type = findVariable(variable, this.events[0]!, use)?.row.type ?? choice;
    const values = type.kind === "choice" || type.kind === "words" ? (type.values ?? []) : [];
    return values.map((value) => this.item(value, Kind.EnumMember, { detail: variable }));
  }
}

/** Places to fill in stand in angle brackets: named, empty, or with the words to choose from. */
export function snippet(form: string): { insert: string; snippet: true } {
  let place = 0;
  const insert = form.replace(/<([\w|]*)>/g, (_, name: string) => {
    place++;
    if (name.includes("|")) return `\${${place}|${name.replaceAll("|", ",")}|}`;
    return name === "" ? `$${place}` : `\${${place}:${name}}`;
  });
  return { insert, snippet: true };
}
