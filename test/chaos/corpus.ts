/**
 * `node test/chaos/corpus.ts [--messages N] [--corpus DIR] [--lanes N]`: N messages (default 10,000) of the corpus
 * (default ../shared/conformance/corpus; a few of our own where it is missing) and variations of them through SPF,
 * DKIM, ARC, DMARC and ClamAV in the running gateway. Prints progress and the workers' memory. Exit code 1 when
 * something did not hold.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { CommandScope } from "../integration/daemons.ts";
import { originals } from "./corpus-messages.ts";
import { runCorpus } from "./corpus-run.ts";

const printEvery = 5;

const { values } = parseArgs({
  options: {
    messages: { type: "string", default: "10000" },
    corpus: { type: "string", default: join(import.meta.dirname, "../../../shared/conformance/corpus") },
    lanes: { type: "string", default: "8" },
  },
});
const say = (line: string) => process.stdout.write(`${line}\n`);
const scope = new CommandScope();
try {
  const from = originals(values.corpus);
  say(`${from.length} originals`);
  let lines = 0;
  const result = await runCorpus(scope, {
    ...{ messages: Number(values.messages), lanes: Number(values.lanes), originals: from },
    progress(sent, { at, memory, handles }) {
      if (lines++ % printEvery > 0) return;
      say(
        `${at.toFixed(0).padStart(4)} s  ${String(sent).padStart(6)} sent  ${memory.toFixed(0)} MiB  ${handles} handles`,
      );
    },
  });
  if (result === undefined) throw new Error("needs clamd");
  for (const [what, count] of Object.entries(result.replies).sort()) say(`${String(count).padStart(6)}  ${what}`);
  const rate = Number(values.messages) / result.seconds;
  say(
    `${values.messages} messages in ${result.seconds.toFixed(0)} s (${rate.toFixed(0)}/s), ${result.delivered} delivered`,
  );
  say(`memory after warm-up ×${result.growth.toFixed(2)}; ${result.faults.length} faults`);
  for (const fault of result.faults.slice(0, 20)) say(`fault: ${fault}`);
  if (result.faults.length > 0) process.exitCode = 1;
} finally {
  await scope.end();
}
