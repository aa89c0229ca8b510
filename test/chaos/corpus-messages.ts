/**
 * The messages of a corpus run: the public corpus where it lies beside the checkout, a few of our own elsewhere, and
 * variations of them when more are wanted.
 */
import { execFileSync } from "node:child_process";
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type SigningKey, signDkim } from "../../src/checks/dkim/sign.ts";
import { readMessage, toCrlf } from "../../src/checks/message.ts";
import { budgetWith } from "../../src/config/budget.ts";

/** What was done to a message: nothing; a valid signature; a signature and then a change; a virus attached. */
export type Variation = "plain" | "signed" | "broken" | "infected";

const variations: readonly Variation[] = ["plain", "signed", "broken", "infected"];

const budget = budgetWith();

/** Originals with CRLF line ends: of the archive `mail.tar.gz` in `folder`, or our own when there is none. */
export function originals(folder: string): Buffer[] {
  const archive = join(folder, "mail.tar.gz");
  if (!existsSync(archive)) return ownMessages();
  const scratch = mkdtempSync(join(tmpdir(), "postern-corpus-"));
  try {
    execFileSync("tar", ["xzf", archive, "-C", scratch]);
    const files = globSync("**/*.eml", { cwd: scratch }).sort();
    return files.map((file) => toCrlf(readFileSync(join(scratch, file))));
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** Twelve messages from 1 KiB to 400 KiB, for machines without the corpus. */
function ownMessages(): Buffer[] {
  return Array.from({ length: 12 }, (_, index) => {
    const fields = `From: a${index}@author.test\r\nTo: b@out.test\r\nSubject: number ${index}\r\nMessage-ID: <${index}@author.test>\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n`;
    const lines = 12 * 2 ** Math.floor(index * 0.8);
    const body = Array.from(
      { length: lines },
      (_, line) => `${line % 7 ? "" : "."}line ${line} of message ${index}: ${"text ".repeat(12)}\r\n`,
    );
    return Buffer.from(`${fields}\r\n${body.join("")}`);
  });
}

/**
 * Message `number` of a run: the originals first, then again and again in other variations; every fiftieth carries the
 * virus. `zip`: base64 of an infected archive.
 */
export async function messageOf(
  number: number,
  from: readonly Buffer[],
  key: SigningKey,
  zip: string,
): Promise<{ variation: Variation; bytes: Buffer }> {
  const original = from[number % from.length]!;
  const round = Math.floor(number / from.length);
  const variation: Variation = number % 50 === 49 ? "infected" : round === 0 ? "plain" : variations[1 + (round % 2)]!;
  return { variation, bytes: await varied(original, variation, key, zip) };
}

async function varied(original: Buffer, variation: Variation, key: SigningKey, zip: string): Promise<Buffer> {
  if (variation === "plain") return original;
  if (variation === "infected") return attached(original, zip);
  const [value] = await signDkim(await readMessage(original, budget), [key], { timestamp: 1_790_000_000 });
  const signed = Buffer.concat([Buffer.from(`DKIM-Signature: ${value}\r\n`), original]);
  return variation === "signed" ? signed : Buffer.concat([signed, Buffer.from("added after signing\r\n")]);
}

/** The archive as the first part of a multipart whose second part is the message. */
function attached(original: Buffer, zip: string): Buffer {
  const fields =
    "From: sender@author.test\r\nSubject: with attachment\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=corpus-run\r\n\r\n";
  const archive = `--corpus-run\r\nContent-Type: application/zip; name=x.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n${zip}\r\n`;
  const head = `${fields}${archive}--corpus-run\r\nContent-Type: message/rfc822\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), original, Buffer.from("\r\n--corpus-run--\r\n")]);
}
