/** Targets of the fuzzer: what scanners, milters and policy services answer. */
import assert from "node:assert/strict";
import { BudgetExceeded, budgetDefaults, budgetWith } from "../../src/config/budget.ts";
import { clamdVerdict } from "../../src/scanners/clamav.ts";
import { parseHookReply } from "../../src/scanners/hook.ts";
import { decodeNegotiation, decodeReply, everything } from "../../src/scanners/milter/codec.ts";
import { MilterMessage } from "../../src/scanners/milter/edits.ts";
import { interpret } from "../../src/scanners/policy-delegation.ts";
import { parseRspamdReply } from "../../src/scanners/rspamd.ts";
import { SocketScanner } from "../../src/scanners/socket.ts";
import { spamdScore } from "../../src/scanners/spamassassin.ts";
import { ScannerError, type ScanVerdict } from "../../src/scanners/types.ts";
import { refusing, type Target } from "./target.ts";

const budget = budgetWith();

export const scannerTargets: Readonly<Record<string, Target>> = {
  milter: {
    about: "replies of milters",
    seeds: [
      "O\0\0\0\x06\0\0\x01\xff\0\0\0\0",
      "y550 5.7.1 no\0",
      "hX-A\0b\0",
      "m\0\0\0\x01Subject\0x\0",
      "bbody",
      "c",
      "d",
    ],
    words: ["\0", "\0\0\0\x01", "Subject\0", "<a@b>\0", "550 5.7.1 ", "%"],
    maxBytes: 2_000,
    run(input) {
      const command = input.toString("latin1", 0, 1);
      const data = input.subarray(1);
      refusing([ScannerError], () => void decodeReply(command, data));
      refusing([ScannerError], () => void decodeNegotiation(command, data));
    },
  },
  milterEdits: {
    about: "what milters ask for, applied to a message; each packet after its length in one octet",
    seeds: [
      "\x08hX-A\0b\0\x10m\0\0\0\x01Subject\0new\0",
      "\x0ci\0\0\0\0X-T\0t\0\x0ce\x3ca@b.test\x3e\0\x05bbody\x01c",
      "\x0cm\0\0\0\x01Subject\0\0\x0bhX-F\0a\r\n b\0\x09+<c@d.t>\0",
    ],
    words: ["\0", "\0\0\0\x01", "Subject\0", "\r\n", "\r\n\r\n", "\n ", "X-A: b", "\x0bhX-B\0c\0"],
    maxBytes: 2_000,
    run: (input) => refusing([ScannerError, BudgetExceeded], () => applied(input)),
  },
  scannerReplies: {
    about: "replies of clamd, spamd, rspamd, MTA Hooks, socket scanners, policy services",
    seeds: [
      "stream: OK",
      "stream: Win.Test.EICAR_HDB-1 FOUND",
      "INSTREAM size limit exceeded. ERROR",
      "True ; 15.0 / 5.0",
      '{"score":15.5,"required_score":15,"action":"reject","symbols":{"GTUBE":{"score":1}},"messages":{"smtp_message":"x"}}',
      '{"action":"reject","response":{"status":554,"enhancedStatus":"5.7.1","message":"no"},"modifications":[]}',
      '{"action":"accept","modifications":[{"type":"addHeader","name":"X-A","value":"b"},{"type":"replaceContents","value":"x"},{"type":"changeFrom","value":"a@b.test"}]}',
      "450 4.7.1 Greylisted, see x",
      "PREPEND X-Greylist: delayed 5 s",
      "BAD Eicar 7.5",
    ],
    words: [
      "FOUND",
      "stream: ",
      "True ; ",
      " / ",
      "1e999",
      "-0",
      '"action":',
      '{"type":"insertHeader","index":',
      "\\r\\n",
      "REJECT ",
      "NaN",
      "\0",
    ],
    maxBytes: 3_000,
    run: (input) => readReplies(input.toString("utf8")),
  },
};

/** Applies the packets to a message; nothing of theirs may end a line, a field or the header early. */
function applied(input: Buffer): void {
  const header = Buffer.from("Received: ours\r\nSubject: old\r\nX-A: one\r\n\r\n");
  const changed = new MilterMessage(header, 1, () => [Buffer.from("body\r\n")], budget);
  for (let at = 0; at < input.length; at += 1 + input[at]!) {
    const packet = input.subarray(at + 1, at + 1 + input[at]!);
    const reply = decodeReply(packet.toString("latin1", 0, 1), packet.subarray(1));
    if (reply.kind === "modification") changed.apply([reply.modification], everything);
  }
  const text = changed.header.toString("latin1");
  assert.ok(/^Received: ours\r$/m.test(text), "our field stays");
  assert.equal(text.indexOf("\r\n\r\n"), text.length - 4, "one header section");
  assert.ok(!/\r(?!\n)|(?<!\r)\n|\0/.test(text), "whole lines");
  for (const line of text.slice(0, -4).split("\r\n"))
    assert.match(line, /^(?:[\x21-\x39\x3b-\x7e]+:|[ \t])/, "fields and folds");
  const { added, deleted, mailFrom = "" } = changed.envelope;
  for (const address of [...added.map((each) => each.address), ...deleted, mailFrom]) assert.ok(!control.test(address));
}

const control = /[\x00-\x1f\x7f]/;
const anyRule = new SocketScanner({
  ...{ name: "fuzz", address: { path: "/nowhere" }, timeoutMs: 1, budget: budgetWith() },
  protocol: {
    ...{ request: [], replyEnd: "line", keepOpen: false },
    rules: [{ pattern: "^(\\w+) (\\S+)(?: ([^ ]+))?", virus: "$2", score: "$3", threshold: "5", message: "$1 $2" }],
  },
});

/** Each reader on the same text; what reaches replies or header fields is printable, numbers are numbers. */
function readReplies(text: string): void {
  const refusals = [ScannerError, BudgetExceeded];
  refusing(refusals, () => sound(clamdVerdict(text, "fuzz", 0)));
  refusing(refusals, () => {
    const { score, threshold } = spamdScore(text);
    assert.ok(!Number.isNaN(score) && !Number.isNaN(threshold));
  });
  refusing(refusals, () => void parseRspamdReply(text));
  refusing(refusals, () => {
    const { outcome, modifications } = parseHookReply(text, "fuzz", budgetDefaults);
    assert.ok(!control.test(outcome?.text ?? ""));
    const header = Buffer.from("Received: ours\r\nSubject: old\r\n\r\n");
    const message = new MilterMessage(header, 1, () => [], budget);
    message.apply(modifications, everything);
    const changed = message.header.toString("latin1");
    assert.equal(changed.indexOf("\r\n\r\n"), changed.length - 4, "one header section");
    assert.ok(!/\r(?!\n)|(?<!\r)\n|\0/.test(changed + (message.replacedBody?.toString("latin1") ?? "")), "whole lines");
  });
  refusing(refusals, () => sound(anyRule.read(text, 0)));
  refusing(refusals, () => {
    const action = interpret(text, "fuzz");
    if (action.kind === "reply") assert.ok(!control.test(action.outcome.text));
    if (action.kind === "prepend") assert.ok(!control.test(action.name + action.value));
  });
}

function sound({ virus, score = 0, threshold = 0, message = "" }: ScanVerdict): void {
  assert.ok(!control.test(virus + message), "printable");
  assert.ok(!Number.isNaN(score) && !Number.isNaN(threshold));
}
