/** `postern lsp` driven over its standard input and output, as an editor does it. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { DocumentSymbol, Hover, LocationLink, TextEdit, WorkspaceEdit } from "vscode-languageserver/node";
import { LspClient } from "./lsp-client.ts";

const script = `event onConnect {
  call (checkSPF);
}

event onMailFrom {
  call (checkSPF);
  call (Block_List);
  set (verdict, "%mailFromDomain%");
}

# Domains that we know.
method Block_List {
  if (anyOf (is (mailFromDomain, "bad.example"), is (SPFResult, "fail"))) {
    set (smtpAction, "reject");
    set (smtpExplanation, "no: %Verdict%");
  }
}
`;

const sieve = `require ["fileinto", "variables"];

set "name" "value";
if header :contains "subject" "\${name}" {
  fileinto "\${Name}";
}
`;

let client: LspClient;
before(async () => {
  client = await LspClient.start();
});
after(async () => {
  assert.equal(await client.stop(), 0);
});

test("diagnostics follow each edit", async () => {
  const file = await client.open("file:///tmp/diagnostics.script", script, "smtpfilters");
  assert.ok(!(await file.codes()).includes("P014"));
  await file.replace("call (Block_List)", "call (Block_Lost)");
  assert.ok((await file.codes()).includes("P014"));
  await file.replace("Block_Lost", "Block_List");
  assert.ok(!(await file.codes()).includes("P014"));
});

test("completion knows the event and what is being written", async () => {
  const file = await client.open("untitled:complete.script", script, "smtpfilters");
  const labels = async (piece: string): Promise<string[]> => (await file.complete(piece)).map(({ label }) => label);
  assert.ok((await labels("event onMailFrom {\n  call (")).includes("Block_List"));
  const subjects = await labels("is (SPFResult".slice(0, 4));
  assert.ok(subjects.includes("mailFromDomain"));
  assert.ok(!subjects.includes("rcptTo"), "rcptTo is not known in onMailFrom, where Block_List runs");
  assert.deepEqual((await labels('set (smtpAction, "')).sort(), ["accept", "discard", "reject", "tmpreject"]);
  assert.ok((await labels('"no: %')).includes("verdict"));
  assert.ok((await labels("if (anyOf (")).includes("ipRange"));
  assert.deepEqual(await labels("# Domains"), []);
  await file.replace("event onConnect", "event on");
  assert.ok((await labels("event on")).includes("onRcptTo"));
  assert.ok(!(await labels("event on")).includes("onMailFrom"), "it is defined already");
});

test("hover tells what a name is", async () => {
  const file = await client.open("untitled:hover.script", script, "smtpfilters");
  const hover = async (piece: string, offset = 1): Promise<string> => {
    const found = await file.request<Hover | null>("textDocument/hover", { position: file.at(piece, offset) });
    return (found?.contents as { value?: string } | undefined)?.value ?? "";
  };
  assert.match(await hover("checkSPF"), /RFC 7208/);
  assert.match(await hover("call (Block_List)", 8), /Domains that we know\.[\s\S]*Runs in onMailFrom/);
  assert.match(await hover("smtpAction"), /reject/);
  assert.match(await hover("%mailFromDomain%", 3), /can be read/);
  assert.match(await hover("onConnect"), /greeting/);
  assert.equal(await hover("bad.example"), "");
});

test("definition, references and rename follow a name into texts", async () => {
  const file = await client.open("untitled:rename.script", script, "smtpfilters");
  const position = file.at("call (Block_List)", 8);
  const [definition] = await file.request<LocationLink[]>("textDocument/definition", { position });
  assert.deepEqual(definition?.targetSelectionRange.start, file.at("method Block_List", 7));
  const edits = async (at: typeof position, newName: string): Promise<TextEdit[]> => {
    const edit = await file.request<WorkspaceEdit>("textDocument/rename", { position: at, newName });
    return edit.changes?.["untitled:rename.script"] ?? [];
  };
  const renamed = file.edited(await edits(position, "Bad_Domains"));
  assert.ok(renamed.includes("call (Bad_Domains)") && renamed.includes("method Bad_Domains {"));
  const variable = file.edited(await edits(file.at("verdict"), "why"));
  assert.ok(variable.includes("set (why,") && variable.includes('"no: %why%"'));
  await assert.rejects(edits(position, "checkSPF"), /predefined/);
  await assert.rejects(edits(position, "no name"), /letters/);
  await assert.rejects(edits(file.at("mailFromDomain"), "other"), /predefined/);
  assert.equal(await file.request("textDocument/prepareRename", { position: file.at("smtpAction") }), null);
});

test("outline and format", async () => {
  const file = await client.open("untitled:outline.script", script.replaceAll("  ", "      "), "smtpfilters");
  const symbols = await file.request<DocumentSymbol[]>("textDocument/documentSymbol");
  assert.deepEqual(
    symbols.map(({ name }) => name),
    ["onConnect", "onMailFrom", "Block_List"],
  );
  const edits = await file.request<TextEdit[]>("textDocument/formatting", { options: {} });
  assert.equal(file.edited(edits), script);
  await file.replace("event onConnect {", "event onConnect");
  assert.equal(await file.request("textDocument/formatting", { options: {} }), null);
});

test("quick fixes do what the hints say", async () => {
  const file = await client.open("untitled:fix.script", script, "smtpfilters");
  await file.replace("call (Block_List)", "call (Block_Lisst)");
  assert.ok((await file.fixed("P014")).includes("call (Block_List)"));
  await file.replace("Block_Lisst);", "Block_List)");
  assert.ok((await file.fixed("P001")).includes("call (Block_List);"));
  await file.replace("Block_List)", "Block_List);");
  await file.replace("%mailFromDomain%", "%mailFromDomian%");
  assert.ok((await file.fixed("P016")).includes('"%mailFromDomain%"'));
});

test("Sieve: completion adds the require that it needs", async () => {
  const file = await client.open("file:///tmp/complete.sieve", 'require ["fileinto"];\n\nrej\n', "sieve");
  const reject = (await file.complete("rej")).find(({ label }) => label === "reject");
  assert.ok(reject?.textEdit && "range" in reject.textEdit);
  const text = file.edited([reject.textEdit, ...(reject.additionalTextEdits ?? [])]);
  assert.equal(text, 'require ["fileinto", "reject"];\n\nreject\n');
  await file.replace("rej", 'if header :con "subject" "x" { keep; }');
  const tags = (await file.complete("header :con")).map(({ label }) => label);
  assert.ok(tags.includes("contains") && tags.includes("comparator") && !tags.includes("copy"));
  await file.replace('"fileinto"', '"fileinto", "enc"');
  assert.ok((await file.complete('"enc')).some(({ label }) => label === "encoded-character"));
  await file.replace("if header", "if ");
  const tests = (await file.complete("if ")).map(({ label }) => label);
  assert.ok(tests.includes("exists") && !tests.includes("keep"));
});

test("Sieve: fixes, hover, rename, format", async () => {
  const file = await client.open("file:///tmp/names.sieve", sieve, "sieve");
  assert.deepEqual(await file.codes(), []);
  const edit = await file.request<WorkspaceEdit>("textDocument/rename", {
    position: file.at('"name"', 2),
    newName: "folder",
  });
  const renamed = file.edited(edit.changes?.["file:///tmp/names.sieve"] ?? []);
  assert.equal(renamed, sieve.replace('"name"', '"folder"').replaceAll(/\$\{name\}/gi, `\${folder}`));
  const hover = await file.request<Hover>("textDocument/hover", { position: file.at('fileinto "', 2) });
  assert.match((hover.contents as { value: string }).value, /RFC 5228 §4\.1/);
  const [definition] = await file.request<LocationLink[]>("textDocument/definition", {
    position: file.at(`\${Name}`, 3),
  });
  assert.deepEqual(definition?.targetRange.start, file.at('"name"', 1));
  await file.replace(`  fileinto "\${Name}";`, `      fileinto "\${Name}";   \n\n\n  reject "no";`);
  assert.ok((await file.fixed("S002")).startsWith('require ["fileinto", "variables", "reject"];'));
  const formatted = await file.request<TextEdit[]>("textDocument/formatting", { options: {} });
  assert.ok(file.edited(formatted).endsWith(`{\n  fileinto "\${Name}";\n\n  reject "no";\n}\n`));
  await file.replace(":contains", ":contain");
  assert.ok((await file.fixed("S003")).includes(":contains"));
});

test("texts of no language, closed texts and odd places are answered with nothing", async () => {
  const file = await client.open("file:///tmp/other.txt", "event", "plaintext");
  assert.deepEqual(await file.complete("event"), []);
  const sieveFile = await client.open("file:///tmp/closed.sieve", "keep;", "sieve");
  await client.connection.sendNotification("textDocument/didClose", {
    textDocument: { uri: "file:///tmp/closed.sieve" },
  });
  assert.equal(await sieveFile.request("textDocument/hover", { position: { line: 900, character: 900 } }), null);
});

test("an editor that goes without a word leaves no server behind", async () => {
  const gone = await LspClient.start();
  const exited = new Promise((done) => gone.child.once("exit", done));
  gone.connection.dispose();
  gone.child.stdin.end();
  assert.equal(await exited, 1);
});
