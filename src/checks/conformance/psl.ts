/** Suite `psl`: registrable domains by the public suffix list's own vectors, in both of their notations. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Suite } from "../../telemetry/suite.ts";
import { registrableDomain } from "../psl.ts";
import { expectEqual, runCases } from "./case.ts";

function word(text: string): string | undefined {
  return text === "null" ? undefined : text.replace(/^'|'$/g, "");
}

export const pslSuite: Suite = {
  name: "psl",
  async run(dir) {
    const text = await readFile(join(dir, "test_psl.txt"), "utf8");
    const vectors = [...text.matchAll(/^checkPublicSuffix\((.+), (.+)\);/gm)];
    return runCases(
      "psl",
      vectors,
      (vector) => vector[0],
      ([, name, expected]) => expectEqual("domain", registrableDomain(word(name!) ?? ""), word(expected!)),
    );
  },
};
