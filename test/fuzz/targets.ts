/**
 * What is fuzzed: every parser that reads what strangers wrote. A target runs one input; it throws when something is
 * wrong. Typed refusals (a budget exceeded, a malformed answer) are right; any other error is a finding. Where a parser
 * reads a stream, the same octets in other pieces must give the same result.
 */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parse } from "../../grammar/smtpfilters/parser.ts";
import { print } from "../../grammar/smtpfilters/print.ts";
import { parseKey } from "../../src/checks/dkim/key.ts";
import { parseSignature } from "../../src/checks/dkim/signature.ts";
import { parseDmarcRecord } from "../../src/checks/dmarc/record.ts";
import { SpfSyntaxError } from "../../src/checks/spf/macro.ts";
import { parseSpfRecord } from "../../src/checks/spf/record.ts";
import { BudgetExceeded, budgetDefaults, budgetWith } from "../../src/config/budget.ts";
import { parseConfig } from "../../src/config/load.ts";
import { parseAddressMap } from "../../src/delivery/address-map.ts";
import { parseUserMap, UserMapError } from "../../src/delivery/user-map.ts";
import { decodeResponse } from "../../src/dns/packet.ts";
import { DnsError } from "../../src/dns/types.ts";
import { parseAddresses } from "../../src/message/addresses.ts";
import { bodiesOf } from "../../src/message/bodies.ts";
import { parseDate } from "../../src/message/date.ts";
import { decodeWords } from "../../src/message/encoded-word.ts";
import { parseParameterized } from "../../src/message/parameters.ts";
import { parseMessage } from "../../src/message/parse.ts";
import { compilePolicy } from "../../src/policy/compile.ts";
import { compileSieve } from "../../src/sieve/compile.ts";
import { runSieve } from "../../src/sieve/run.ts";
import { parseCommand } from "../../src/smtp/incoming/commands.ts";
import { ContentScanner } from "../../src/smtp/incoming/data.ts";
import { readMailParameters, readRcptParameters } from "../../src/smtp/incoming/parameters.ts";
import { readProxyHeader } from "../../src/smtp/incoming/proxy.ts";
import { ReplyError, ReplyParser } from "../../src/smtp/outgoing/reply.ts";
import { scannerTargets } from "./scanner-targets.ts";
import { refusing, type Target } from "./target.ts";

const root = resolve(import.meta.dirname, "../..");
const budget = budgetWith({ mimeParts: 50, mimeDepth: 8 });
const message = parseMessage(
  Buffer.from("From: A <a@x.test>\r\nTo: b@y.test\r\nSubject: hello\r\nX-Score: 7\r\n\r\nbody\r\n"),
  budget,
);
const mime =
  'From: "A, B" <a@x.test>\r\nSubject: =?utf-8?q?h=C3=A9?=\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n' +
  'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n' +
  "Content-Transfer-Encoding: quoted-printable\r\n\r\nh=C3=A9\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nx\r\n--b--\r\n";

export const targets: Readonly<Record<string, Target>> = {
  policy: {
    about: "smtpFilters: lexer, parser, checker, lowering, emitter, formatter",
    seeds: [
      ...texts("rules/*.script"),
      'event onMailFrom {\n  if (anyOf (is (mailFrom, "a@b.test"), match (ehloHost, "^x.*"))) {\n    set (smtpAction, "reject");\n  }\n}\n',
      'method m { set (smtpExplanation, "no %mailFrom%"); }\nevent onConnect { call (m); } # end\n',
    ],
    words: [
      "event onEhlo {",
      "method m {",
      "}",
      'set (smtpAction, "reject");',
      "if (anyOf (",
      "is (",
      "%mailFrom%",
      '"',
      "#",
      "call (",
      "not ",
    ],
    maxBytes: 6_000,
    run(input) {
      const source = input.toString("utf8");
      const result = compilePolicy(source, { file: "fuzz.script", budget });
      if (!result.ok) return;
      const printed = formatted(source);
      assert.ok(compilePolicy(printed, { file: "fuzz.script", budget }).ok, "what is formatted still compiles");
      assert.equal(formatted(printed), printed, "formatting twice changes nothing");
    },
  },
  sieve: {
    about: "Sieve: lexer, parser, checker, lowering, emitter, a run",
    seeds: texts("{rules,test/sieve/scripts}/*.sieve"),
    words: [
      'require ["',
      "fileinto",
      ":matches",
      ":contains",
      "header",
      "address",
      "if ",
      "elsif ",
      "anyof (",
      "{",
      "}",
      ";",
      "text:\r\n",
      "$" + "{1}",
      "foreverypart",
      "10K",
    ],
    maxBytes: 4_000,
    run(input) {
      const result = compileSieve(input.toString("utf8"), { file: "fuzz.sieve" });
      if (result.ok) runSieve(result.script, { message, envelope: { from: "a@x.test", to: "b@y.test" } });
    },
  },
  message: {
    about: "messages: header section, MIME tree, addresses, dates, encoded words",
    seeds: [mime, "Subject: plain\r\n\r\nbody\r\n", "", "\r\n"],
    words: [
      "--b\r\n",
      "--b--\r\n",
      "Content-Type: ",
      "multipart/mixed; boundary=",
      "base64",
      "=?utf-8?b?",
      "?=",
      "\r\n\t",
      "<a@b>",
      "(",
      "message/rfc822",
    ],
    maxBytes: 8_000,
    run(input) {
      refusing([BudgetExceeded], () => {
        const parsed = parseMessage(input, budget);
        for (const field of parsed.headers.fields) {
          parseAddresses(field.value);
          parseDate(field.value);
          decodeWords(field.value);
          parseParameterized(field.value);
        }
        bodiesOf(parsed.root);
      });
    },
  },
  commands: {
    about: "SMTP commands and their parameters",
    seeds: [
      "EHLO x.test",
      "MAIL FROM:<a@b.test> SIZE=10 BODY=8BITMIME",
      'RCPT TO:<"q q"@b.test> NOTIFY=NEVER ORCPT=rfc822;a+2Bb',
      "BDAT 10 LAST",
      "AUTH PLAIN dGVzdA==",
    ],
    words: [
      "MAIL FROM:<",
      "RCPT TO:<",
      ">",
      "SIZE=",
      " RET=HDRS",
      " ENVID=",
      " SMTPUTF8",
      "@[127.0.0.1]",
      "@[IPv6:::1]",
      "xn--",
      '"',
      "\\",
    ],
    maxBytes: 4_096,
    run(input) {
      const line = input.toString("utf8");
      const command = parseCommand(line);
      assert.ok(!/[\r\n]/.test(JSON.stringify(command)), "no line end in what is passed on");
      readMailParameters(line);
      readRcptParameters(line);
    },
  },
  data: {
    about: "the DATA and BDAT streams, in random pieces",
    seeds: ["Subject: x\r\n\r\nhello\r\n.\r\n", "..\r\n.x\r\n\r\n.\r\nQUIT\r\n", "a\n.\nb\r\n.\r\n"],
    words: ["\r\n.\r\n", "\n.\n", "\r.\r", "\r\n..", "Received: x", "\0", "\r\n\r\n"],
    maxBytes: 3_000,
    run(input) {
      for (const kind of ["dotted", "lines", "binary"] as const) {
        const whole = scanned(kind, [input]);
        assert.deepEqual(scanned(kind, pieces(input)), whole, `${kind}: pieces change nothing`);
        if (kind === "dotted" && whole.violation === undefined) {
          assert.ok(!/(^|\r\n)\.\r\n/.test(whole.text) || whole.text.includes("."), "no end of data within");
          assert.ok(!/[^\r]\n|^\n|\r[^\n]/.test(whole.text), "no bare CR or LF goes on");
        }
      }
    },
  },
  replies: {
    about: "replies of next hops, in random pieces",
    seeds: ["220 hi\r\n250-a\r\n250 b\r\n", "550 5.1.1 no\r\n", "354\r\n"],
    words: ["250-", "250 ", "\r\n", "5.7.1 ", "421 ", "\0", "999 "],
    maxBytes: 3_000,
    run(input) {
      assert.deepEqual(repliesOf(pieces(input)), repliesOf([input]), "pieces change nothing");
    },
  },
  ...scannerTargets,
  dns: {
    about: "answers of DNS servers",
    seeds: [
      "\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x01a\x04test\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01",
      "\x12\x34\x81\x83\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x10\0\x01",
    ],
    words: ["\xc0\x0c", "\xc0\x00", "\0\x01\0\x01", "\0\x10\0\x01", "\0\x0f\0\x01", "\x3fa", "\0\0\x29"],
    maxBytes: 1_500,
    run: (input) => refusing([DnsError], () => void decodeResponse(input, 100)),
  },
  signatures: {
    about: "DKIM and ARC signatures, DKIM keys, SPF and DMARC records",
    seeds: [
      "v=1; a=rsa-sha256; c=relaxed/relaxed; d=x.test; s=s; h=from:to; bh=AAAA; b=BBBB",
      "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQ==",
      "v=spf1 ip4:192.0.2.0/24 include:%{d1r}.x.test exists:%{ir}._spf.%{d} -all",
      "v=DMARC1; p=reject; rua=mailto:a@x.test!10m; pct=50",
    ],
    words: ["; ", "=", "%{", "}", "ip6:", "/128", "l=", "t=9999999999", "x=", "redirect=", "mailto:", "\r\n "],
    maxBytes: 2_000,
    run(input) {
      const text = input.toString("latin1");
      const section = parseMessage(
        Buffer.from(`DKIM-Signature: ${text.replaceAll("\r\n", " ")}\r\n\r\n`, "latin1"),
        budget,
      );
      for (const field of section.headers.fields)
        for (const kind of ["dkim", "arc"] as const) parseSignature(field, kind);
      parseKey(text, 4_096);
      parseDmarcRecord(text);
      refusing([SpfSyntaxError], () => void parseSpfRecord(text));
    },
  },
  config: {
    about: "postern.yaml",
    seeds: [
      'server: { name: x.test }\nlisteners:\n  - { address: "127.0.0.1:2525" }\nworkers: 2\n',
      "queue: { firstRetry: 5m }\n",
    ],
    words: ["server:", "\n  - ", "{ ", " }", "&a", "*a", "!!js", ": ", "limits:", "5m", "null", "'"],
    maxBytes: 2_000,
    run: (input) => void parseConfig(input.toString("utf8"), "fuzz.yaml"),
  },
  maps: {
    about: "user maps, address maps",
    seeds: ["^a@x\\.test$ mail1.test\n", "a@x.test b@y.test\n@x.test @y.test\n"],
    words: ["(a+)+$", "[", "]", "\\", "@", " ", "\n", "#", "*", "{1,9}"],
    maxBytes: 2_000,
    run(input) {
      const text = input.toString("utf8");
      refusing([UserMapError, BudgetExceeded], () => void parseUserMap(text, "fuzz", budgetDefaults));
      refusing([RangeError, BudgetExceeded], () => void parseAddressMap(text, "fuzz", budgetDefaults));
    },
  },
  proxy: {
    about: "PROXY protocol headers, versions 1 and 2",
    seeds: [
      "PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n",
      "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\0\x01\0\x19",
    ],
    words: ["PROXY ", "TCP6 ", "UNKNOWN", "::1", "\r\n", "65536", "\x21\x21\0\x24"],
    maxBytes: 600,
    run: (input) => void readProxyHeader(input, 0),
  },
};

function texts(pattern: string): string[] {
  return globSync(pattern, { cwd: root })
    .sort()
    .map((file) => readFileSync(join(root, file), "utf8").slice(0, 4_000));
}

function formatted(source: string): string {
  return print(parse(source, { nesting: 64 }).script, source);
}

/** Pieces whose lengths the octets themselves decide. */
function pieces(input: Buffer): Buffer[] {
  const list: Buffer[] = [];
  for (let at = 0; at < input.length; ) {
    const length = 1 + (((input[at] ?? 0) * 7 + at) % 11);
    list.push(input.subarray(at, at + length));
    at += length;
  }
  return list;
}

function scanned(
  kind: "dotted" | "lines" | "binary",
  chunks: readonly Buffer[],
): { text: string; violation: string | undefined } {
  let text = "";
  const limits = { messageBytes: 2_000, receivedHeaders: 5, budget: { ...budgetDefaults, textLineRead: 500 } };
  const scanner = new ContentScanner(kind, limits, (piece) => {
    text += piece.toString("latin1");
  });
  for (const chunk of chunks) if (scanner.feed(chunk) >= 0 && kind === "dotted") break;
  if (kind !== "dotted") scanner.finish();
  // After a violation, how much was emitted before depends on the pieces; nothing of it is kept.
  const { violation } = scanner;
  if (violation === undefined) return { text, violation };
  // Of two limits that one piece exceeds, either may be named.
  return { text: "", violation: violation === "tooBig" || violation === "lineTooLong" ? "limit" : violation };
}

function repliesOf(chunks: readonly Buffer[]): { replies: unknown[]; refused: boolean } {
  const replies: unknown[] = [];
  const parser = new ReplyParser({ replyBytes: 1_000, replyLines: 20 });
  try {
    for (const chunk of chunks) parser.push(chunk, (reply) => replies.push(reply));
    return { replies, refused: false };
  } catch (error) {
    if (!(error instanceof ReplyError || error instanceof BudgetExceeded)) throw error;
    return { replies, refused: true };
  }
}
