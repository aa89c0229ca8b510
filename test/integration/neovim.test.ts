/** A real editor as client: Neovim, headless, with `postern lsp` as its language server. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";

const nvim = process.env.POSTERN_NVIM ?? "nvim";
const present = spawnSync(nvim, ["--version"]).status === 0;

test("Neovim: diagnostics, hover, an edit, rename", (t) => {
  if (!present) {
    assert.notEqual(process.env.POSTERN_REQUIRE_PEERS, "1", "nvim is missing");
    t.skip("needs nvim");
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), "postern-nvim-"));
  try {
    const file = join(folder, "policy.script");
    const result = join(folder, "result.json");
    writeFileSync(
      file,
      'event onMailFrom {\n  call (checkSPFF);\n}\n\nmethod Block_List {\n  set (smtpAction, "");\n}\n',
    );
    const set = { node: process.execPath, main: resolve(import.meta.dirname, "../../src/cli/main.ts"), file, result };
    const variables = Object.entries(set).flatMap(([name, value]) => ["--cmd", `let g:${name} = '${value}'`]);
    const lua = resolve(import.meta.dirname, "neovim.lua");
    const options = { cwd: folder, env: { ...process.env, HOME: folder }, timeout: 60_000, encoding: "utf8" } as const;
    const run = spawnSync(
      nvim,
      ["--headless", "-u", "NONE", "-n", ...variables, "-c", `luafile ${lua}`, "-c", "qall!"],
      options,
    );
    assert.equal(run.status, 0, run.stderr);
    const learned = JSON.parse(readFileSync(result, "utf8"));
    assert.ok(learned.opened && learned.codes.includes("P014"), run.stderr);
    assert.match(learned.hover, /MAIL FROM was read/);
    assert.ok(learned.fixed, "the diagnostic goes with its mistake");
    assert.equal(learned.lines[1], "  call (Blocked);");
    assert.equal(learned.lines[4], "method Blocked {");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
