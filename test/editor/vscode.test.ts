/**
 * The extension in a real VS Code build: code-server from npm, driven through headless Chromium. Needs both and the
 * extension's one dependency: POSTERN_CODE_SERVER names the program's entry.js, POSTERN_EXTENSION an installed copy of
 * src/workbench/vscode (docs/editors.md tells how to make them). Not part of `npm test`: the editor is a download of its
 * own, larger than the gateway and all its peers.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { freePort, until } from "../integration/lab.ts";

const {
  POSTERN_CODE_SERVER: editor,
  POSTERN_EXTENSION: extension,
  POSTERN_CHROMIUM: chromium = "chromium",
} = process.env;
const root = resolve(import.meta.dirname, "../..");
/** A whole editor starts slowly on a busy machine. */
const patience = 120_000;

/** One page of Chromium, driven through its debugging protocol. */
class Page {
  readonly #socket: WebSocket;
  #id = 0;
  readonly #waiting = new Map<number, (result: { result?: { value?: unknown } }) => void>();

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      const { id, result } = JSON.parse(String(data));
      this.#waiting.get(id)?.(result ?? {});
    });
  }

  static async open(port: number): Promise<Page> {
    const target = await until(
      "the browser's page",
      async () => {
        const list = await fetch(`http://127.0.0.1:${port}/json`).then(
          (answer) => answer.json(),
          () => [],
        );
        return (list as Array<{ type: string; webSocketDebuggerUrl: string }>).find(({ type }) => type === "page");
      },
      patience,
    );
    const socket = new WebSocket(target.webSocketDebuggerUrl);
    await new Promise((done) => socket.addEventListener("open", done));
    return new Page(socket);
  }

  send(method: string, params: object = {}): Promise<{ result?: { value?: unknown } }> {
    const id = ++this.#id;
    this.#socket.send(JSON.stringify({ id, method, params }));
    return new Promise((done) => this.#waiting.set(id, done));
  }

  /** What the first element of the selector whose text matches says, as soon as it is there. */
  shows(selector: string, text: RegExp): Promise<string> {
    return until(`${text} in ${selector}`, async () => (await this.#find(selector, text))?.text, patience);
  }

  async click(selector: string, text: RegExp): Promise<void> {
    await this.shows(selector, text);
    const { x, y } = (await this.#find(selector, text))!;
    const at = { x, y, button: "left", clickCount: 1 };
    await this.send("Input.dispatchMouseEvent", { type: "mouseMoved", x, y });
    await this.send("Input.dispatchMouseEvent", { type: "mousePressed", ...at });
    await this.send("Input.dispatchMouseEvent", { type: "mouseReleased", ...at });
  }

  async #find(selector: string, text: RegExp): Promise<{ text: string; x: number; y: number } | undefined> {
    const expression = `(() => {
      for (const element of document.querySelectorAll(${JSON.stringify(selector)})) {
        const { left, top, width, height } = element.getBoundingClientRect();
        if (width > 0 && ${text}.test(element.textContent))
          return { text: element.textContent || "found", x: left + width / 2, y: top + height / 2 };
      }
    })()`;
    const { result } = await this.send("Runtime.evaluate", { expression, returnByValue: true });
    return result?.value as { text: string; x: number; y: number } | undefined;
  }
}

test("VS Code: diagnostics, a test run and debugged from its lens", { timeout: 5 * patience }, async () => {
  const present = spawnSync(chromium, ["--version"]).status === 0;
  assert.ok(editor && extension && present, "needs POSTERN_CODE_SERVER, POSTERN_EXTENSION and chromium");
  const folder = mkdtempSync(join(tmpdir(), "postern-vscode-"));
  const children: ChildProcess[] = [];
  try {
    const at = (...names: string[]): string => join(folder, ...names);
    for (const name of ["work", "user/User", "extensions"]) mkdirSync(at(name), { recursive: true });
    cpSync(extension, at("extensions", "postern.postern-0.1.0"), { recursive: true });
    cpSync(join(root, "src/workbench/vscode"), at("extensions", "postern.postern-0.1.0"), { recursive: true });
    for (const name of ["inbound-mx.script", "inbound-mx.test.yaml"])
      cpSync(join(root, "rules", name), at("work", name));
    writeFileSync(at("work", "bad.script"), "event onMailFrom {\n  call (checkSPFF);\n}\n");
    const command = [process.execPath, join(root, "src/cli/main.ts")];
    writeFileSync(at("user/User/settings.json"), JSON.stringify({ "postern.command": command }));
    const [port, debugPort] = [await freePort(), await freePort()];
    const dirs = ["--user-data-dir", at("user"), "--extensions-dir", at("extensions")];
    const quiet = ["--auth", "none", "--disable-telemetry", "--disable-update-check", "--disable-workspace-trust"];
    const address = `127.0.0.1:${port}`;
    // Its own Node: its native modules were built for that.
    const node = process.env.POSTERN_CODE_SERVER_NODE ?? "/usr/bin/node";
    const served = [editor, "--bind-addr", address, "--config", at("config.yaml"), ...dirs, ...quiet, at("work")];
    children.push(spawn(node, served, { stdio: "ignore", detached: true, env: { ...process.env, HOME: folder } }));
    await until(
      "the editor's server",
      () =>
        fetch(`http://${address}/healthz`).then(
          ({ ok }) => ok,
          () => false,
        ),
      patience,
    );
    const flags = ["--headless=new", "--no-sandbox", "--window-size=1400,900", `--user-data-dir=${at("browser")}`];
    const url = `http://${address}/?folder=${at("work")}`;
    children.push(
      spawn(chromium, [...flags, `--remote-debugging-port=${debugPort}`, url], { stdio: "ignore", detached: true }),
    );
    const page = await Page.open(debugPort);

    await page.click(".explorer-viewlet .monaco-list-row", /bad\.script/);
    await page.shows(".squiggly-error", /^/);
    await page.click(".explorer-viewlet .monaco-list-row", /inbound-mx\.test\.yaml/);
    await page.click(".codelens-decoration a", /^Run test$/);
    await page.shows(".notification-list-item", /good mail: 1 passed, 0 failed/);
    await page.click(".codelens-decoration a", /^Debug test$/);
    const frame = await page.shows(".debug-call-stack .stack-frame", /inbound-mx\.script/);
    assert.match(frame, /onConnect/);
  } finally {
    // Both start processes of their own.
    for (const { pid } of children) if (pid !== undefined) process.kill(-pid, "SIGKILL");
    rmSync(folder, { recursive: true, maxRetries: 10, retryDelay: 200 });
  }
});
