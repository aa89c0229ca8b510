/**
 * Places of variables in a Sieve script (RFC 5229): where commands name them, and `${name}` in strings. Names are found
 * in the source text of a string, so that renaming changes nothing else of it. Pure.
 */
import type { CommandNode, StringNode } from "../../../../grammar/sieve/ast.ts";
import type { Range } from "../language.ts";

export interface VariablePlace extends Range {
  /** In lower case: names are compared without case (RFC 5229 §3). */
  key: string;
  name: string;
  defines: boolean;
}

/** Commands whose first positional argument names variables; those with `when` only if so many arguments follow. */
const namers: Readonly<Record<string, { defines: boolean; when?: number }>> = {
  set: { defines: true },
  global: { defines: true },
  extracttext: { defines: true },
  setflag: { defines: true, when: 2 },
  addflag: { defines: true, when: 2 },
  removeflag: { defines: true, when: 2 },
  hasflag: { defines: false, when: 2 },
};

const reference = /\$\{([A-Za-z_]\w*)\}/g;

export function variablePlaces(commands: readonly CommandNode[], source: string): VariablePlace[] {
  const found: VariablePlace[] = [];
  const add = (name: string, start: number, defines: boolean): void =>
    void found.push({ name, key: name.toLowerCase(), start, end: start + name.length, defines });
  const string = (node: StringNode): void => {
    const start = node.span.start.offset;
    for (const match of source.slice(start, node.span.end.offset).matchAll(reference)) {
      add(match[1]!, start + match.index + 2, false);
    }
  };
  const walk = (node: CommandNode): void => {
    const namer = namers[node.name.toLowerCase()];
    const positional = positionalOf(node);
    for (const argument of node.arguments) for (const item of stringsOf(argument)) string(item);
    if (namer && (namer.when === undefined || positional.length >= namer.when)) {
      for (const item of stringsOf(positional[0])) {
        const start = item.span.start.offset + 1;
        // Only a plainly written name can be changed where it stands.
        const plain = /^[A-Za-z_]\w*$/.test(item.text) && source.startsWith(item.text, start);
        if (plain) add(item.text, start, namer.defines);
      }
    }
    for (const test of node.tests) walk(test);
    for (const inner of node.block ?? []) walk(inner);
  };
  for (const command of commands) walk(command);
  return found.sort((a, b) => a.start - b.start);
}

/** What follows the tags. The values of tags can't be told from positional ones here: the last two count. */
function positionalOf(node: CommandNode): CommandNode["arguments"] {
  const lastTag = node.arguments.findLastIndex((argument) => argument.kind === "tag");
  const after = node.arguments.slice(lastTag + 1);
  return after.length > 2 ? after.slice(-2) : after;
}

function stringsOf(argument: CommandNode["arguments"][number] | undefined): StringNode[] {
  if (argument?.kind === "string") return [argument];
  return argument?.kind === "list" ? argument.items : [];
}
