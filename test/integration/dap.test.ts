/** `postern dap` driven over its standard input and output, as an editor does it. */
import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import type { DebugProtocol as Dap } from "@vscode/debugprotocol";

const main = resolve(import.meta.dirname, "../../src/cli/main.ts");
const script = `event onMailFrom {
  call (checkSPF) onError ignore;
  call (Sender);
}

method Sender {
  if (is (mailFromDomain, "good.example")) {
    set (note, "known");
  }
  if (is (SPFResult, "fail")) {
    set (note, "forged");
    set (smtpAction, "reject");
    set (smtpExplanation, "SPF says no");
  }
}
`;
const session = {
  connect: { remoteIp: "198.51.100.7" },
  mailFrom: "a@good.example",
  rcptTo: ["b@example.org"],
  localDomains: ["example.org"],
  facts: { checkSPF: { SPFResult: "fail" } },
};

/** Any message of the adapter, told apart by what it has. */
type Message<R extends Dap.Response = Dap.Response> = Partial<R> & { event?: string; body?: R["body"] };

const tests = `tests:
  - name: forged
    session: ${JSON.stringify(session)}
    expect: { mail: 550 }
  - name: fine
    session: { mailFrom: a@b.example, facts: { checkSPF: { SPFResult: pass } } }
    expect: { mail: 250 }
`;

const sieve = `require ["fileinto", "include", "variables"];
set "folder" "Lists";
include "shared";
if header :contains "subject" "hello" {
  fileinto "\${folder}";
} elsif true {
  discard;
}
`;

const children: ChildProcessWithoutNullStreams[] = [];

class Debugger {
  readonly child: ChildProcessWithoutNullStreams;
  readonly messages: Message[] = [];
  readonly exited: Promise<number | null>;
  private pending = Buffer.alloc(0);
  private wake: () => void = () => {};
  private seq = 0;

  constructor() {
    this.child = spawn(process.execPath, [main, "dap"], { stdio: "pipe" });
    children.push(this.child);
    this.exited = new Promise((done) => this.child.once("exit", done));
    this.child.stdout.on("data", (data: Buffer) => {
      this.pending = Buffer.concat([this.pending, data]);
      for (;;) {
        const end = this.pending.indexOf("\r\n\r\n");
        const length = Number(/Content-Length: (\d+)/.exec(this.pending.toString("latin1", 0, Math.max(end, 0)))?.[1]);
        if (end < 0 || this.pending.length < end + 4 + length) break;
        this.messages.push(JSON.parse(this.pending.toString("utf8", end + 4, end + 4 + length)));
        this.pending = this.pending.subarray(end + 4 + length);
      }
      this.wake();
    });
  }

  raw(text: string): void {
    this.child.stdin.write(text);
  }

  async request<R extends Dap.Response = Dap.Response>(command: string, args: object = {}): Promise<Message<R>> {
    const seq = ++this.seq;
    const text = JSON.stringify({ seq, type: "request", command, arguments: args });
    this.raw(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
    return (await this.until((message) => message.request_seq === seq)) as Message<R>;
  }

  async until(wanted: (message: Message) => boolean): Promise<Message> {
    const deadline = Date.now() + 10_000;
    for (;;) {
      const found = this.messages.find(wanted);
      if (found) return found;
      if (Date.now() > deadline) throw new Error("no answer");
      await new Promise<void>((done) => {
        this.wake = done;
        setTimeout(done, 200).unref();
      });
    }
  }

  /** Does the step and answers where it stopped: "rule:line", or the event that came instead. */
  async move(command: string): Promise<string> {
    const before = this.messages.length;
    assert.ok((await this.request(command, { threadId: 1 })).success);
    const news = (message: Message): boolean =>
      this.messages.indexOf(message) >= before && (message.event === "stopped" || message.event === "terminated");
    const { event } = await this.until(news);
    return event === "stopped" ? this.place() : event!;
  }

  async place(): Promise<string> {
    const { body } = await this.request<Dap.StackTraceResponse>("stackTrace", { threadId: 1 });
    const [frame] = body!.stackFrames;
    return `${frame!.name}:${frame!.line}`;
  }

  async variables(variablesReference: number): Promise<Record<string, string>> {
    const { body } = await this.request<Dap.VariablesResponse>("variables", { variablesReference });
    return Object.fromEntries(body!.variables.map(({ name, value }) => [name, value]));
  }

  async value(expression: string): Promise<string> {
    return (await this.request<Dap.EvaluateResponse>("evaluate", { expression })).body!.result;
  }
}

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "postern-dap-"));
  writeFileSync(join(folder, "policy.script"), script);
  writeFileSync(join(folder, "session.json"), JSON.stringify(session));
  writeFileSync(join(folder, "broken.script"), "event onMailFrom {");
  writeFileSync(join(folder, "policy.test.yaml"), tests);
  writeFileSync(join(folder, "filter.sieve"), sieve);
  writeFileSync(join(folder, "shared.sieve"), 'require "variables";\nset "known" "yes";\n');
  writeFileSync(join(folder, "message.eml"), "From: a@b.example\r\nTo: c@d.example\r\nSubject: hello\r\n\r\nhi\r\n");
});
after(() => {
  for (const child of children) child.kill();
  rmSync(folder, { recursive: true });
});

const launch = (more: object = {}) => ({
  program: join(folder, "policy.script"),
  session: join(folder, "session.json"),
  ...more,
});

async function started(lines: number[] = [], filters: string[] = [], args: object = launch()): Promise<Debugger> {
  const client = new Debugger();
  const { body: able } = await client.request<Dap.InitializeResponse>("initialize", { adapterID: "postern" });
  assert.equal(able!.supportsStepBack, true);
  const { success, message } = await client.request("launch", args);
  assert.ok(success, String(message));
  await client.until(({ event }) => event === "initialized");
  const { program } = args as { program: string };
  const { body } = await client.request<Dap.SetBreakpointsResponse>("setBreakpoints", {
    source: { path: program.replace(".test.yaml", ".script") },
    breakpoints: lines.map((line) => ({ line })),
  });
  assert.ok(body!.breakpoints.every(({ verified }) => verified));
  await client.request("setExceptionBreakpoints", { filters });
  await client.request("configurationDone");
  await client.until(({ event }) => event === "stopped");
  return client;
}

async function ended(client: Debugger): Promise<void> {
  await client.request("disconnect");
  assert.equal(await client.exited, 0);
}

test("steps forward and backward through the rules", async () => {
  const client = await started();
  assert.equal(await client.place(), "onMailFrom:1");
  assert.equal(await client.value("mailFromDomain"), '"good.example"');
  assert.equal(await client.value("SPFResult"), '""');
  assert.equal(await client.move("next"), "onMailFrom:2");
  assert.equal(await client.value("%spfresult%"), '"fail"');
  assert.equal(await client.move("next"), "Sender:7");
  assert.equal(await client.move("next"), "Sender:8");
  assert.equal(await client.value("note"), '"known"');
  assert.equal(await client.move("next"), "Sender:10");
  assert.equal(await client.move("next"), "Sender:11");
  assert.equal(await client.value("note"), '"forged"');
  assert.equal(await client.move("stepBack"), "Sender:10");
  assert.equal(await client.value("note"), '"known"', "going back shows the value of then");
  assert.equal(await client.move("stepOut"), "onMailFrom:4");
  assert.equal(await client.move("reverseContinue"), "onMailFrom:1");
  assert.equal(await client.move("continue"), "terminated");
  await ended(client);
});

test("breakpoints, watched scopes and stops at refusals", async () => {
  const client = await started([9], ["refusals"]);
  assert.equal(await client.move("continue"), "Sender:10", "a line without statement moves to the next");
  assert.equal(await client.move("continue"), "Sender:12");
  const set = await client.variables(2);
  assert.equal(set.smtpAction, '"reject"');
  assert.equal(set.SPFResult, '"fail"');
  assert.equal(set.mailFrom, undefined, "was there before the event");
  assert.equal(await client.move("reverseContinue"), "Sender:10");
  assert.ok(
    client.messages.some(({ body: told }) =>
      /MAIL FROM.*→ 550/.test(String((told as Dap.OutputEvent["body"] | undefined)?.output)),
    ),
  );
  await ended(client);
});

test("one test of a test file", async () => {
  const args = { program: join(folder, "policy.test.yaml"), test: "forged" };
  const client = await started([12], [], args);
  assert.equal(await client.move("continue"), "Sender:12");
  assert.equal(await client.value("smtpAction"), '"reject"');
  await ended(client);
});

test("a Sieve script forward, into an included script, and backward", async () => {
  const args = { program: join(folder, "filter.sieve"), message: join(folder, "message.eml") };
  const client = await started([5], [], args);
  assert.equal(await client.place(), "script:1");
  assert.equal(await client.move("next"), "script:2");
  assert.equal(await client.value("folder"), '"Lists"');
  assert.equal(await client.move("next"), "script:3");
  assert.equal(await client.move("next"), "shared.sieve:2");
  const { body } = await client.request<Dap.StackTraceResponse>("stackTrace", { threadId: 1 });
  assert.equal(body!.stackFrames[0]!.source!.path, join(folder, "shared.sieve"));
  assert.equal(await client.move("next"), "script:4");
  assert.equal((await client.variables(1)).test, 'header :contains "subject" "hello" is true: saw "hello"');
  assert.equal(await client.move("continue"), "script:5");
  assert.equal((await client.variables(1)).effect, "fileinto Lists");
  assert.equal(await client.move("stepBack"), "script:4");
  assert.equal(await client.move("reverseContinue"), "script:1");
  assert.equal(await client.value("folder"), '""', "not set yet");
  assert.equal(await client.move("continue"), "script:5");
  assert.equal(await client.move("next"), "script:8");
  assert.equal((await client.variables(1)).end, 'fileinto "Lists"');
  assert.equal(await client.move("next"), "terminated");
  await ended(client);
});

test("what can't be launched or answered says why", async () => {
  const client = new Debugger();
  const failed = async (command: string, args: object): Promise<string> => {
    const { success, message } = await client.request(command, args);
    assert.equal(success, false);
    return message ?? "";
  };
  assert.match(await failed("launch", launch({ program: join(folder, "broken.script") })), /P001/);
  assert.match(await failed("launch", launch({ session: join(folder, "none.json") })), /no such file/);
  assert.match(await failed("launch", { program: 7 }), /needs program/);
  assert.match(await failed("launch", { program: join(folder, "policy.script") }), /needs session/);
  assert.match(await failed("launch", { program: join(folder, "filter.sieve") }), /needs message/);
  const unnamed = { program: join(folder, "policy.test.yaml"), test: "none" };
  assert.match(await failed("launch", unnamed), /one of "forged", "fine"/);
  writeFileSync(join(folder, "broken.sieve"), "fileinto;");
  const broken = { program: join(folder, "broken.sieve"), message: join(folder, "message.eml") };
  assert.match(await failed("launch", broken), /broken\.sieve:1/);
  assert.match(await failed("next", { threadId: 1 }), /nothing was launched/);
  assert.match(await failed("constructor", {}), /not supported/);
  await ended(client);
});

test("bytes that are no message end the debugger, not in a crash", async () => {
  for (const bytes of ["Content-Length: 999999999\r\n\r\n", "x".repeat(5_000), "Content-Length: 3\r\n\r\n{]}"]) {
    const client = new Debugger();
    client.raw(bytes);
    assert.equal(await client.exited, 0);
    assert.ok(client.messages.some(({ event }) => event === "output"));
  }
});
