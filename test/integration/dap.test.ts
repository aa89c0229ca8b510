/** `postern dap` driven over its standard input and output, as an editor does it. */
import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";

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

interface Message {
  type: string;
  event?: string;
  request_seq?: number;
  success?: boolean;
  message?: string;
  // biome-ignore lint/suspicious/noExplicitAny: bodies differ by command
  body?: any;
}

class Debugger {
  readonly child: ChildProcessWithoutNullStreams;
  readonly messages: Message[] = [];
  readonly exited: Promise<number | null>;
  private pending = Buffer.alloc(0);
  private wake: () => void = () => {};
  private seq = 0;

  constructor() {
    this.child = spawn(process.execPath, [main, "dap"], { stdio: "pipe" });
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

  async request(command: string, args: object = {}): Promise<Message> {
    const seq = ++this.seq;
    const text = JSON.stringify({ seq, type: "request", command, arguments: args });
    this.raw(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
    return this.until((message) => message.request_seq === seq);
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
    const { body } = await this.request("stackTrace", { threadId: 1 });
    return `${body.stackFrames[0].name}:${body.stackFrames[0].line}`;
  }

  async value(expression: string): Promise<string> {
    return (await this.request("evaluate", { expression })).body.result;
  }
}

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "postern-dap-"));
  writeFileSync(join(folder, "policy.script"), script);
  writeFileSync(join(folder, "session.json"), JSON.stringify(session));
  writeFileSync(join(folder, "broken.script"), "event onMailFrom {");
});
after(() => rmSync(folder, { recursive: true }));

const launch = (more: object = {}) => ({
  program: join(folder, "policy.script"),
  session: join(folder, "session.json"),
  ...more,
});

async function started(lines: number[] = [], filters: string[] = []): Promise<Debugger> {
  const client = new Debugger();
  assert.equal((await client.request("initialize", { adapterID: "postern" })).body.supportsStepBack, true);
  assert.ok((await client.request("launch", launch())).success);
  await client.until(({ event }) => event === "initialized");
  const { body } = await client.request("setBreakpoints", {
    source: { path: join(folder, "policy.script") },
    breakpoints: lines.map((line) => ({ line })),
  });
  assert.ok(body.breakpoints.every(({ verified }: { verified: boolean }) => verified));
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
  const { body } = await client.request("variables", { variablesReference: 2 });
  const set = Object.fromEntries(
    body.variables.map(({ name, value }: { name: string; value: string }) => [name, value]),
  );
  assert.equal(set.smtpAction, '"reject"');
  assert.equal(set.SPFResult, '"fail"');
  assert.equal(set.mailFrom, undefined, "was there before the event");
  assert.equal(await client.move("reverseContinue"), "Sender:10");
  assert.ok(client.messages.some(({ body: told }) => /MAIL FROM.*→ 550/.test(told?.output ?? "")));
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
