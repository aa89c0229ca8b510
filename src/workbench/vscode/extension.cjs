/**
 * VS Code's side of Postern: starts `postern lsp` for the editor, `postern dap` for its debugger, and `postern test` in
 * a terminal. All knowledge of the languages is in those commands. CommonJS, because the editor loads it so.
 */

const { dirname } = require("node:path");
const vscode = require("vscode");
const { LanguageClient, TransportKind } = require("vscode-languageclient/node");

const documentSelector = [{ language: "smtpfilters" }, { language: "sieve" }, { pattern: "**/*.test.yaml" }];

/** Program and arguments, from the setting postern.command. */
function postern(...args) {
  const [command, ...before] = vscode.workspace.getConfiguration("postern").get("command", ["postern"]);
  return { command, args: [...before, ...args] };
}

let client;

async function startClient() {
  const server = { ...postern("lsp"), transport: TransportKind.stdio };
  const records = vscode.workspace.getConfiguration("postern").get("records", "");
  const initializationOptions = { records, debugTests: true };
  client = new LanguageClient("postern", "Postern", server, { documentSelector, initializationOptions });
  await client.start();
}

async function restart() {
  await client?.stop();
  await startClient();
}

/** Runs the tests that lie beside the script at hand. */
function runTests() {
  const file = vscode.window.activeTextEditor?.document.uri.fsPath;
  if (file === undefined) return;
  const { command, args } = postern("test", dirname(file));
  // The program itself is the terminal's process: no shell reads the path.
  vscode.window.createTerminal({ name: "postern test", shellPath: command, shellArgs: args }).show();
}

/** Called by the lens above a test. */
function debugTest(uri, test) {
  const program = vscode.Uri.parse(uri).fsPath;
  return vscode.debug.startDebugging(undefined, { type: "postern", request: "launch", name: test, program, test });
}

exports.activate = async (context) => {
  const adapter = {
    createDebugAdapterDescriptor() {
      const { command, args } = postern("dap");
      return new vscode.DebugAdapterExecutable(command, args);
    },
  };
  context.subscriptions.push(
    vscode.commands.registerCommand("postern.restart", restart),
    vscode.commands.registerCommand("postern.test", runTests),
    vscode.commands.registerCommand("postern.debugTest", debugTest),
    vscode.debug.registerDebugAdapterDescriptorFactory("postern", adapter),
  );
  await startClient();
};

exports.deactivate = () => client?.stop();
