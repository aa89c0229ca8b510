import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { BudgetExceeded, budgetDefaults } from "../../../src/config/budget.ts";
import { buildList, kindOfName, type ListKind } from "../../../src/language/lists/build.ts";
import { membership } from "../../../src/language/lists/query.ts";
import { type ListEvent, ListRegistry, ListUnavailable } from "../../../src/language/lists/registry.ts";

const folder = mkdtempSync(join(tmpdir(), "postern-lists-"));
after(() => rmSync(folder, { recursive: true }));

function listOf(kind: ListKind, ...lines: string[]): (value: string) => boolean {
  const data = buildList(Buffer.from(lines.join("\n")), kind, budgetDefaults);
  assert.deepEqual(data.faults, []);
  return membership(data, budgetDefaults);
}

test("each kind of list", () => {
  const exact = listOf("exact", "# blocked", "Joe@Example.ORG", "", "  grüße@example.org \r", "joe@example.org");
  assert.deepEqual(["joe@example.org", "JOE@EXAMPLE.ORG", "grüße@example.org", "oe@example.org", ""].map(exact), [
    true,
    true,
    true,
    false,
    false,
  ]);
  const domain = listOf("domain", "example.org", ".example.net", "*.Example.COM");
  for (const value of [
    "example.org",
    "a.b.Example.org",
    "joe@mail.example.net",
    "example.com",
    "odd@one@example.org",
  ]) {
    assert.ok(domain(value), value);
  }
  for (const value of ["notexample.org", "org", "", ".", `${"a.".repeat(200)}example.org`])
    assert.ok(!domain(value), value);
  const cidr = listOf(
    "cidr",
    "10.0.0.0/8",
    "192.0.2.1-192.0.2.9, 2001:db8::/32",
    "10.1.0.0/16",
    "::1",
    "255.255.255.255",
  );
  for (const ip of ["10.9.9.9", "192.0.2.9", "[2001:db8::5]", "::1", "255.255.255.255"]) assert.ok(cidr(ip), ip);
  for (const ip of ["11.0.0.0", "192.0.2.10", "::2", "", "x", "9.255.255.255"]) assert.ok(!cidr(ip), ip);
  const regex = listOf("regex", "^bounce-[0-9]+@", "(viagra|cialis)", "[0-9]{9}");
  for (const value of ["Bounce-12@x", "CIALIS here", "no 123456789"]) assert.ok(regex(value), value);
  assert.ok(!regex("bounce-@x 12345678"));
});

test("the kind comes from the first line, else from the name", () => {
  assert.deepEqual(["a.txt", "a.domains", "a.cidr", "a.regex"].map(kindOfName), ["exact", "domain", "cidr", "regex"]);
  const data = buildList(Buffer.from("# my list\nType: CIDR\n10.0.0.0/8\n"), "exact", budgetDefaults);
  assert.deepEqual([data.kind, data.entries], ["cidr", 1]);
});

test("bad lines are named and left out", () => {
  const data = buildList(Buffer.from("10.0.0.0/8\nnonsense\n10.0.0.0/255.0.255.0\n::1\n"), "cidr", budgetDefaults);
  assert.equal(data.entries, 2);
  assert.deepEqual(
    data.faults.map((fault) => fault.line),
    [2, 3],
  );
  assert.equal(buildList(Buffer.from("a(b\nok"), "regex", budgetDefaults).faults[0]?.line, 1);
  assert.equal(
    buildList(Buffer.from("type: shoes\na"), "exact", budgetDefaults).faults[0]?.message,
    'unknown type "shoes"',
  );
  const many = buildList(Buffer.from("bad\n".repeat(1_000)), "cidr", budgetDefaults);
  assert.equal(many.faults.length, 20);
});

test("limits: octets of a file and of a line, entries, patterns", () => {
  const build = (text: string, kind: ListKind, limits: object) =>
    buildList(Buffer.from(text), kind, { ...budgetDefaults, ...limits });
  for (const [kind, limits, field] of [
    ["exact", { listEntries: 2 }, "listEntries"],
    ["regex", { listPatterns: 2 }, "listPatterns"],
    ["exact", { listFileBytes: 5 }, "listFileBytes"],
  ] as const) {
    assert.throws(
      () => build("a\nb\nc\n", kind, limits),
      (error) => error instanceof BudgetExceeded && error.field === field,
    );
  }
  assert.equal(build("abcd\nabcde", "exact", { listLineBytes: 4 }).faults[0]?.line, 2);
});

test("a registry loads in the background, reloads on change, and keeps the last good content", async () => {
  const path = join(folder, "blocked.txt");
  writeFileSync(path, "a@example.org\n");
  const events: ListEvent[] = [];
  const registry = new ListRegistry({ limits: budgetDefaults, onEvent: (event) => events.push(event), pollMs: 20 });
  try {
    const list = registry.open("file:blocked.txt", folder);
    assert.throws(() => list.has("a@example.org"), ListUnavailable);
    assert.equal(registry.open(`file:${path}`, "/"), list);
    await list.ready;
    assert.deepEqual([list.has("A@example.org"), list.has("b@example.org"), list.entries], [true, false, 1]);
    writeFileSync(path, "b@example.org\nc@example.org\n");
    for (let i = 0; i < 250 && list.entries !== 2; i++) await sleep(20);
    assert.deepEqual([list.has("a@example.org"), list.has("b@example.org")], [false, true]);
    const loads = events.length;
    rmSync(path);
    for (let i = 0; i < 250 && events.length === loads; i++) await sleep(20);
    assert.ok("error" in events.at(-1)!);
    assert.ok(list.has("b@example.org"));
  } finally {
    registry.close();
  }
});

test("the members of an exact list, so many as asked for; other kinds can't be told out", async () => {
  writeFileSync(join(folder, "team.txt"), "A@Example.org\nb@example.org\nc@example.org\n");
  writeFileSync(join(folder, "bad.domains"), "example.org\n");
  const registry = new ListRegistry({ limits: budgetDefaults });
  try {
    const [team, domains] = ["file:team.txt", "file:bad.domains"].map((name) => registry.open(name, folder));
    await Promise.all([team!.ready, domains!.ready]);
    assert.deepEqual(team!.members(2), ["a@example.org", "b@example.org"]);
    assert.equal(team!.members(9)?.length, 3);
    assert.equal(domains!.members(9), undefined);
  } finally {
    registry.close();
  }
});

test("a list that was never there is unavailable, not empty", async () => {
  const registry = new ListRegistry({ limits: budgetDefaults });
  try {
    const list = registry.open("file:missing.txt", folder);
    await list.ready;
    assert.throws(() => list.has("x"), { name: "ListUnavailable", message: /ENOENT/ });
    assert.throws(() => registry.open("sql:table", folder), ListUnavailable);
  } finally {
    registry.close();
  }
});

test("a large list loads without holding up the event loop", async () => {
  const path = join(folder, "large.domains");
  writeFileSync(path, Array.from({ length: 200_000 }, (_, i) => `host${i}.bad.example`).join("\n"));
  const registry = new ListRegistry({ limits: budgetDefaults });
  try {
    const list = registry.open("file:large.domains", folder);
    let ticks = 0;
    const clock = setInterval(() => ticks++, 2);
    await list.ready;
    clearInterval(clock);
    assert.ok(ticks > 5, `${ticks} ticks`);
    assert.ok(list.has("x@mail.host199999.bad.example"));
    assert.ok(!list.has("x@host200000.bad.example"));
  } finally {
    registry.close();
  }
});
