import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { budgetWith } from "../../../src/config/budget.ts";
import { hostWords } from "../../../src/delivery/bounce/notice.ts";
import { parseBounce } from "../../../src/delivery/bounce/parse.ts";
import { isHard, maxText, reasonOfReply, textRules } from "../../../src/delivery/bounce/reasons.ts";
import { replyCodeIn, statusIn } from "../../../src/delivery/bounce/statuses.ts";
import { classifyReply } from "../../../src/delivery/classify.ts";

const budget = budgetWith();
const bounceOf = (...lines: string[]) => parseBounce(Buffer.from(lines.join("\r\n")), budget);

function report(fields: string[], notice = "Your message could not be delivered."): string[] {
  return [
    "Return-Path: <>",
    "From: MAILER-DAEMON@mx.example",
    "To: ann@x.example",
    "Subject: Undelivered Mail Returned to Sender",
    'Content-Type: multipart/report; report-type=delivery-status; boundary="b"',
    "",
    "--b",
    "",
    notice,
    "--b",
    "Content-Type: message/delivery-status",
    "",
    "Reporting-MTA: dns; mx.example",
    "",
    ...fields,
    "",
    "--b--",
    "",
  ];
}

test("RFC 3464: recipients, status, code, reason, hard and soft", () => {
  const parsed = bounceOf(
    ...report([
      "Original-Recipient: rfc822;bob@y.example",
      "Final-Recipient: rfc822; bob@y.example",
      "Action: failed",
      "Status: 5.0.0",
      "Diagnostic-Code: smtp; 550 5.1.1 <bob@y.example>:",
      "    no such user",
      "",
      "Final-Recipient: rfc822; <eve@y.example>",
      "Action: failed",
      "Status: 5.2.2",
      "Diagnostic-Code: smtp; 552 mailbox full",
    ]),
  )!;
  assert.equal(parsed.kind, "delivery");
  assert.deepEqual(
    parsed.recipients.map(({ address, status, replyCode, reason, hard }) => [address, status, replyCode, reason, hard]),
    [
      ["bob@y.example", "5.1.1", 550, "user-unknown", true],
      ["eve@y.example", "5.2.2", 552, "mailbox-full", false],
    ],
  );
});

test("records without blank lines between them, delays and successes", () => {
  const parsed = bounceOf(
    ...report([
      "Final-Recipient: rfc822; a@y.example",
      "Action: delayed",
      "Status: 4.4.1",
      "Final-Recipient: rfc822; b@y.example",
      "Action: relayed",
      "Status: 2.0.0",
    ]),
  )!;
  assert.deepEqual(
    parsed.recipients.map(({ action, reason, hard }) => [action, reason, hard]),
    [
      ["delayed", "expired", false],
      ["relayed", "delivered", false],
    ],
  );
});

test("a bounce in prose: address, cause, and none of the addresses around it", () => {
  const parsed = bounceOf(
    "From: Mail Delivery System <mailer-daemon@mx.example>",
    "To: ann@x.example",
    "Subject: Mail delivery failed: returning message to sender",
    "",
    "A message that you sent could not be delivered. Questions to postmaster@mx.example.",
    "",
    "  bob@y.example",
    "    SMTP error from remote mail server after RCPT TO:<bob@y.example>:",
    "    host mx.y.example [192.0.2.1]: 550 5.1.1 User unknown",
    "",
    "------ This is a copy of the message, including all the headers. ------",
    "",
    "From: ann@x.example",
    "To: someone@else.example",
    "",
  )!;
  assert.deepEqual(
    parsed.recipients.map(({ address, hard }) => [address, hard]),
    [["bob@y.example", true]],
  );
});

test("complaints, automatic replies and ordinary mail", () => {
  const complaint = bounceOf(
    'Content-Type: multipart/report; report-type=feedback-report; boundary="b"',
    "",
    "--b",
    "Content-Type: message/feedback-report",
    "",
    "Feedback-Type: abuse",
    "Original-Rcpt-To: <a@y.example>",
    "Original-Rcpt-To: <b@y.example>",
    "--b--",
    "",
  )!;
  assert.deepEqual(
    [complaint.kind, complaint.recipients.map((one) => one.address)],
    ["feedback", ["a@y.example", "b@y.example"]],
  );
  assert.equal(
    bounceOf("From: b@y.example", "Auto-Submitted: auto-replied", "Subject: away", "", "gone", "")?.kind,
    "auto-reply",
  );
  assert.equal(
    bounceOf("From: b@y.example", "To: a@x.example", "Subject: lunch", "", "at noon? write to c@y.example", ""),
    undefined,
  );
});

test("the number of recipients is bounded", () => {
  const fields = Array.from({ length: 30 }, (_, index) => [
    `Final-Recipient: rfc822; u${index}@y.example`,
    "Action: failed",
    "Status: 5.1.1",
    "",
  ]).flat();
  const parsed = parseBounce(Buffer.from(report(fields).join("\r\n")), budgetWith({ bounceRecipients: 10 }))!;
  assert.equal(parsed.recipients.length, 10);
});

test("text beyond the limit is not read", () => {
  const notice = `${"filler line\r\n".repeat(200)}  bob@y.example\r\n`;
  const lines = [
    "From: MAILER-DAEMON@mx.example",
    "To: ann@x.example",
    "Subject: failure notice",
    "",
    "could not be delivered",
    notice,
  ];
  assert.equal(parseBounce(Buffer.from(lines.join("\r\n")), budget)!.recipients[0]!.address, "bob@y.example");
  const short = parseBounce(Buffer.from(lines.join("\r\n")), budgetWith({ bounceText: 500 }));
  assert.notEqual(short?.recipients[0]?.address, "bob@y.example");
});

test("any bytes are read without a fault", () => {
  const line = fc.constantFrom(
    "Final-Recipient: rfc822;",
    "Action: failed",
    "550 ",
    "<a@b>",
    "{",
    '"notificationType"',
    "}",
    "--b",
    "",
    ">",
    "To: x",
    "é",
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 30 }), (body) => {
      const parsed = bounceOf("Subject: failure notice", "Content-Type: multipart/report; boundary=b", "", ...body);
      for (const one of parsed?.recipients ?? []) assert.equal(typeof one.hard, "boolean");
    }),
    { numRuns: 300 },
  );
});

test("no rule is slow on hostile text", () => {
  const seeds = [
    "a ",
    "user ",
    "mailbox ",
    "sender ",
    "from: ",
    "from <",
    "ip ",
    "message ",
    "server ",
    "domain ",
    "exceed ",
    "no ",
    "x.x ",
  ];
  for (const rule of textRules) {
    for (const pattern of rule.patterns) {
      for (const seed of seeds) {
        const text = seed.repeat(Math.ceil(maxText / seed.length)).slice(0, maxText);
        // The best of three: on a busy machine a single run may wait for its turn.
        const times = [1, 2, 3].map(() => {
          const started = process.hrtime.bigint();
          pattern.test(text);
          return Number(process.hrtime.bigint() - started) / 1e6;
        });
        assert.ok(Math.min(...times) < 40, `${rule.reason} ${pattern} takes ${Math.min(...times)} ms on "${seed}"`);
      }
    }
  }
});

test("replies: action and category", () => {
  for (const [reply, action, category] of [
    ["550 5.1.1 <bob@y.example> user unknown", "reject", "recipient"],
    ["450 4.2.0 <bob@y.example>: greylisted, try again later", "defer", "greylist"],
    ["554 5.7.1 client [192.0.2.1] blocked using dnsbl.example.org", "defer", "blacklist"],
    ["451 4.7.0 rate limit exceeded", "slowdown", "capacity"],
    ["421 too many connections from your host", "defer", "capacity"],
    ["552 5.2.2 mailbox full", "reject", "capacity"],
    ["452 4.2.2 mailbox full", "defer", "capacity"],
    ["550 5.7.1 message looks like spam", "reject", "spam"],
    ["550 something never seen", "reject", "other"],
    ["", "defer", "other"],
  ] as const) {
    const advice = classifyReply(reply);
    assert.deepEqual([advice.action, advice.category], [action, category], reply);
  }
});

/** What mailers and providers say of an address that is dead, in words of their own. */
const deadWords = `
554 delivery error: dd This user doesn't have a yahoo.com account (x@yahoo.com) [0] - mta1.mail.yahoo.com
552 1 Requested mail action aborted, mailbox not found
550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302). [x.prod.protection.outlook.com]
550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient x@y.com not found by SMTP address lookup
#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##
550 5.1.1 RESOLVER.ADR.ExRecipNotFound; not found
550 5.4.310 DNS domain example.invalid does not exist [Message=InfoDomainNonexistent]
unknown user: "bob"
550 5.1.1 <x@y>: Recipient address rejected: User unknown in virtual mailbox table
Host or domain name not found. Name service error for name=nope.example type=MX: Host not found
Sorry, no mailbox here by that name. (#5.1.1)
Sorry, I couldn't find any host named nope.example. (#5.1.2)
Sorry, no mailbox here by that name. vpopmail (#5.1.1)
This address no longer accepts mail.
all relevant MX records point to non-existent hosts
Unrouteable address
an MX or SRV record indicated no SMTP service
unknown local-part "bob" in domain "y.example"
550 5.1.2 <x@y>... Host unknown (Name server: y: host not found)
User bob (bob@y.example) not listed in Domino Directory
User bob (bob@y.example) not listed in public Name & Address Book
550 5.1.1 Not our Customer
550 5.1.1 Adresse d au moins un destinataire invalide. Invalid recipient. OFR_416 [416]
550 Message was not accepted -- invalid mailbox. Local mailbox x@mail.ru is unavailable: user not found
550 5.7.1 No such user!
550 Mailbox not found. http://service.mail.qq.com/cgi-bin/help
550 User not found: x@163.com
550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550
550 #5.1.0 Address rejected.
550 5.1.0 #5.1.0 Address rejected
550 5.1.1 RCP-P1 http://postmaster.facebook.com/response_codes
511 sorry, no mailbox here by that name (#5.1.1 - chkuser)
550 sorry, no such user here
550 No such person at this address
550-Callback setup failed while verifying <x@y> 550 unknown recipient
550 5.1.1 unknown or illegal alias: x@y
550 5.1.1 Addressee unknown, relay=[192.0.2.1]
550 Unknown recipient address: x
553 sorry, this recipient is not in my validrcptto list (#5.7.1)
550 x@y.example is not a valid mailbox
550 That user or domain does not exist here
550 account not found
550 address not known here
5.1.1 bad destination mailbox address
The recipient's e-mail address was not found in the recipient's e-mail system
Der Empfänger wurde nicht gefunden
Le destinataire est inconnu: adresse introuvable
El usuario no existe
ユーザー Neko (kijitora@example.co.jp) は Domino ディレクトリには見つかりません。
宛先のユーザーは存在しません
收件人不存在
Utilisateur inexistant
Пользователь не найден
Usuário inexistente
550 Gebruiker onbekend
550 5.1.6 recipient no longer on server
550 5.1.6 User has moved; please try <new@y>
556 5.1.10 Recipient address has null MX
550 Host nope.example does not exist
No MX found for domain
domain has no MX records
554 5.4.4 Unable to route: no mail hosts for domain
`;

/** What they say of everything else: full, blocked, too big, unreachable… */
const otherWords = `
452 4.2.2 The email account that you tried to reach is over quota. Please direct the recipient to
552 5.2.2 user is over quota
550 5.2.2 STOREDRV.Deliver; mailbox full. The following information should help identify
550 5.7.1 TRANSPORT.RULES.RejectMessage; the message was rejected by organization policy
550 5.7.1 RESOLVER.RST.NotAuthorized; not authorized
550 5.2.1 RESOLVER.RST.SendSizeLimit; message too large for this recipient
550 5.1.8 Access denied, bad outbound sender AS(42003)
550 4.4.7 QUEUE.Expired; message expired
554 5.4.14 Hop count exceeded - possible mail loop ATTR34
mail for y.example loops back to myself
delivery temporarily suspended: connect to y.example[192.0.2.1]:25: Connection timed out
connect to y.example[192.0.2.1]:25: Connection refused
The users mailfolder is over the allowed quota (size). (#5.2.2)
Sorry, I wasn't able to establish an SMTP connection. (#4.4.1)
I'm not going to try again; this message has been in the queue too long.
CNAME lookup failed temporarily. (#4.4.3)
sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)
retry timeout exceeded
all hosts for 'y.example' have been failing for a long time and were last tried after this message arrived
mailbox is full: retry timeout exceeded
553 5.3.5 system config error
452 4.4.5 Insufficient disk space; try again later
No route found to domain Y from server X. Check Server, Connection and Domain documents in Domino Directory
Maximum hop count exceeded. Message probably in a routing loop.
554 5.7.1 [HM08] Message rejected due to local policy. Please visit https://support.apple.com
554 comcast BL004 Blocked for spam. Please see http://postmaster.comcast.net
554: (RTR:BL) https://postmaster.aol.com/error-codes
421 4.7.0 [TS01] Messages from 192.0.2.1 temporarily deferred due to user complaints - 4.16.55.1
550 invalid DNS MX or A/AAAA resource record
550 5.7.0 Message considered as spam or virus, rejected
552 5.2.2 Boite du destinataire pleine. Recipient overquota.
spam message rejected. Please visit http://help.mail.ru/notspam-support/id
554 5.7.1 Message rejected under suspicion of SPAM; http://feedback.yandex.ru
550 Mail content denied. http://service.mail.qq.com
550 Connection frequency limited. http://service.mail.qq.com
550 User suspended
554 DT:SPM 163 smtp8
550 csi.mimecast.org Poor Reputation Sender. - https://community.mimecast.com
550 Administrative prohibition - envelope blocked - https://community.mimecast.com
554-Your access to this mail server has been rejected due to the sending MTA's poor reputation.
554 5.7.0 Reject, id=12345-01 - SPAM
554 5.7.0 Reject, id=12345-01 - BANNED: .exe
550 SPF check failed
421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address.
550-5.7.1 [192.0.2.1 12] Our system has detected that this message is likely unsolicited mail.
554 30 Sorry, your message to x@yahoo.com cannot be delivered. This mailbox is disabled (554.30).
550 5.2.1 The email account that you tried to reach is disabled.
450 4.2.0 <x@y>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch
451 4.7.1 Greylisting in action, please come back later
554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org
450 4.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.1]
550 5.7.1 <x@y>: Relay access denied
552 5.3.4 Message size exceeds fixed maximum message size
554 5.7.1 virus found in message
451 4.3.0 Temporary lookup failure
550 5.1.7 <bad>: Sender address rejected: Domain not found
553 5.1.8 <x@y>... Domain of sender address x@y does not exist
Ihr Postfach ist voll
メールボックスの容量を超えています
La boîte aux lettres est pleine
El buzón está lleno
`;

test("the words of mailers: a dead address, and all else", () => {
  for (const [words, hard] of [
    [deadWords, true],
    [otherWords, false],
  ] as const) {
    for (const line of words.trim().split("\n")) {
      const said = hostWords(line);
      const status = statusIn(said);
      const reason = reasonOfReply(said, status, replyCodeIn(said)) ?? "undefined";
      assert.equal(isHard(reason, status), hard, `${reason}: ${line}`);
      assert.notEqual(reason, "undefined", line);
    }
  }
});

test("the words of 550 itself name no cause; the status beside them may", () => {
  const words = "550 Requested action not taken: mailbox unavailable";
  assert.equal(reasonOfReply(words, "", 550), "filtered");
  assert.equal(reasonOfReply(words, "5.1.1", 550), "user-unknown");
});

test("status fields in Japanese are read by their escape sequences", () => {
  const fields = report(["Final-Recipient: rfc822; a@y.example", "Action: failed", "Status: 5.0.0"]);
  const at = fields.indexOf("Status: 5.0.0");
  const words = Buffer.from("1b244238462469446f246a245e243b24731b2842", "hex").toString("latin1");
  fields.splice(at + 1, 0, `Diagnostic-Code: X-Notes; ${words}`);
  const [found] = bounceOf(...fields)!.recipients;
  assert.doesNotMatch(found!.diagnostic, /\x1b/);
  assert.match(found!.diagnostic, /[\u3040-\u30ff\u4e00-\u9fff]/);
});
