/** The VS Code extension folder: grammars are current, and the client starts what its manifest promises. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createRequire, registerHooks } from "node:module";
import { resolve } from "node:path";
import { test } from "node:test";
import { grammarFiles } from "../../../src/workbench/textmate.ts";

const folder = resolve(import.meta.dirname, "../../../src/workbench/vscode");
const manifest = JSON.parse(readFileSync(resolve(folder, "package.json"), "utf8"));

test("the grammars are made from today's vocabulary", () => {
  for (const [path, grammar] of grammarFiles()) {
    const written = JSON.parse(readFileSync(path, "utf8"));
    const current = JSON.parse(JSON.stringify(grammar));
    assert.deepEqual(written, current, `${path}: run node src/workbench/textmate.ts --write`);
  }
});

test("each file that the manifest names is there", () => {
  const { languages, grammars } = manifest.contributes;
  const files = [manifest.main, ...languages.map((l: { configuration: string }) => l.configuration)];
  for (const { path } of grammars) files.push(path);
  assert.equal(files.length, 5);
  for (const file of files) assert.ok(existsSync(resolve(folder, file)), file);
});

test("the client starts the language server and names the debugger", async () => {
  const started: unknown[] = [];
  const registered: string[] = [];
  let descriptor: { createDebugAdapterDescriptor(): { command: string; args: string[] } } | undefined;
  const fakes: Record<string, object> = {
    vscode: {
      workspace: {
        getConfiguration: () => ({ get: (_: string, other: unknown) => (other === "" ? "" : ["npx", "postern"]) }),
      },
      window: {},
      commands: { registerCommand: (name: string) => void registered.push(name) },
      debug: {
        registerDebugAdapterDescriptorFactory: (_: string, factory: typeof descriptor) => (descriptor = factory),
      },
      DebugAdapterExecutable: class {
        command: string;
        args: string[];
        constructor(command: string, args: string[]) {
          this.command = command;
          this.args = args;
        }
      },
    },
    "vscode-languageclient/node": {
      TransportKind: { stdio: 0 },
      LanguageClient: class {
        constructor(...args: unknown[]) {
          started.push(args[2]);
        }
        async start(): Promise<void> {}
      },
    },
  };
  Reflect.set(globalThis, "editorFakes", fakes);
  const hooks = registerHooks({
    resolve: (name, context, next) => (fakes[name] ? { url: `fake:${name}`, shortCircuit: true } : next(name, context)),
    load: (url, context, next) =>
      url.startsWith("fake:")
        ? {
            format: "commonjs",
            source: `module.exports = globalThis.editorFakes[${JSON.stringify(url.slice(5))}];`,
            shortCircuit: true,
          }
        : next(url, context),
  });
  try {
    const extension = createRequire(import.meta.url)(resolve(folder, manifest.main));
    await extension.activate({ subscriptions: [] });
  } finally {
    hooks.deregister();
    Reflect.deleteProperty(globalThis, "editorFakes");
  }
  assert.deepEqual(started, [{ command: "npx", args: ["postern", "lsp"], transport: 0 }]);
  const shown: string[] = manifest.contributes.commands.map(({ command }: { command: string }) => command);
  // The one that needs a test comes from a lens alone.
  assert.deepEqual(registered.sort(), [...shown, "postern.debugTest"].sort());
  const { command, args } = descriptor!.createDebugAdapterDescriptor();
  assert.deepEqual([command, ...args], ["npx", "postern", "dap"]);
});
