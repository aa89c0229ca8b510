/**
 * docs/policies.md: the shipped policies explained and covered by their tests, with the real output of the commands.
 * `node rules/page.ts --write` makes it anew; a test holds it current. Failure: a command that fails throws.
 */
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "../src/cli/command.ts";
import { command as explain } from "../src/cli/explain.ts";
import { command as test } from "../src/cli/test.ts";

const root = resolve(import.meta.dirname, "..");

const policies = [
  ["default", "A stranger writes to a local user and tries to relay through us."],
  ["inbound-mx", "A client without a proper name, seen for the first time."],
  ["smart-host", "A printer that can't log in, from the network that may."],
] as const;

export async function policiesPage(): Promise<string> {
  let page = `# The shipped policies

Made by \`node rules/page.ts --write\`: what stands in the boxes is the commands' own output. The scripts are in
[rules/](../rules), each with its tests (\`*.test.yaml\`) and the session that is explained here (\`sessions/\`).
`;
  for (const [name, story] of policies) {
    const script = `rules/${name}.script`;
    const session = `rules/sessions/${name}.json`;
    page += `\n## ${script}\n\n${story}\n\n${await box(explain, ["explain", script, "--session", session])}`;
    page += `\nIts tests, and what they cover:\n\n`;
    page += await box(test, ["test", `rules/${name}.test.yaml`, "--coverage", "--min", "100"]);
  }
  return page;
}

async function box(command: Command, [name, ...argv]: string[]): Promise<string> {
  let text = "";
  const out = (part: string): void => {
    text += part;
  };
  const code = await command.run(argv, { out, err: out, cwd: root });
  if (code !== 0) throw new Error(`postern ${name} ${argv.join(" ")} ended with ${code}:\n${text}`);
  return `\`\`\`\n$ postern ${name} ${argv.join(" ")}\n${text.trimEnd()}\n\`\`\`\n`;
}

if (import.meta.main && process.argv.includes("--write")) {
  writeFileSync(resolve(root, "docs/policies.md"), await policiesPage());
}
