/**
 * Appends a notice to a message (corporate disclaimers) without breaking it: to the text parts where the message is
 * plain or HTML, as a part of its own where it is anything else.
 * Invariants: the MIME structure of what was there stays; attachments are not touched; a message that is signed or
 * encrypted (S/MIME, OpenPGP) is wrapped, never changed inside, so that its signature still verifies; DKIM signatures
 * do not survive a change of the body, so this comes before our own signing.
 * Failure: undefined when the message can't take a notice (broken structure, beyond the MIME budget).
 */
import { BudgetExceeded } from "../config/budget.ts";
import type { MimeBudget, MimePart } from "../message/mime.ts";
import { parseMessage } from "../message/parse.ts";
import { applySplices, encodeQuotedPrintable, type Splice, setField } from "../smtp/outgoing/splice.ts";

export interface Disclaimer {
  text: string;
  /** Fragment put before </body>; made from `text` when absent. */
  html?: string;
}

const sealed = /^multipart\/(?:signed|encrypted)$|^application\/(?:x-)?pkcs7-mime$/;

export function appendDisclaimer(message: Buffer, notice: Disclaimer, budget: MimeBudget): Buffer | undefined {
  try {
    const { root } = parseMessage(message, budget);
    const leaves = textLeaves(root);
    if (leaves === undefined || leaves.length === 0) return wrap(message, root, notice);
    return applySplices(
      message,
      leaves.flatMap((leaf) => editLeaf(leaf, notice)),
    );
  } catch (error) {
    if (error instanceof BudgetExceeded) return undefined;
    throw error;
  }
}

/** The parts that are the message's text; undefined when the message must stay as it is inside. */
function textLeaves(part: MimePart): MimePart[] | undefined {
  if (sealed.test(part.mediaType)) return undefined;
  if (part.disposition === "attachment") return [];
  if (part.mediaType === "text/plain" || part.mediaType === "text/html") {
    const inlinePgp = part.text.includes("-----BEGIN PGP ");
    return inlinePgp ? undefined : [part];
  }
  if (!part.isMultipart) return [];
  // Alternatives all get the notice; of other multiparts only the first part is the text.
  const parts = part.subtype === "alternative" ? part.children : part.children.slice(0, 1);
  const found: MimePart[] = [];
  for (const child of parts) {
    const below = textLeaves(child);
    if (below === undefined) return undefined;
    found.push(...below);
  }
  return found;
}

/** The part's body with the notice, in UTF-8 and quoted-printable: the notice may not fit the old charset. */
function editLeaf(part: MimePart, notice: Disclaimer): Splice[] {
  const html = part.mediaType === "text/html";
  const text = html ? withHtml(part.text, notice) : `${part.text.replace(/(?:\r?\n)*$/, "")}\r\n\r\n${notice.text}\r\n`;
  const body = encodeQuotedPrintable(Buffer.from(text.replace(/\r?\n/g, "\r\n")));
  const parameters = [...part.parameters].filter(([name]) => name !== "charset");
  const rest = parameters.map(([name, value]) => `; ${name}="${value.replace(/["\\\r\n]/g, "")}"`).join("");
  return [
    { start: part.bodyStart, end: part.end, text: Buffer.from(body) },
    setField(part, "Content-Type", `${part.mediaType}; charset=utf-8${rest}`),
    setField(part, "Content-Transfer-Encoding", "quoted-printable"),
  ];
}

function withHtml(text: string, notice: Disclaimer): string {
  const fragment = htmlOf(notice);
  const end = text.search(/<\/body\s*>/i);
  return end < 0 ? `${text}${fragment}` : text.slice(0, end) + fragment + text.slice(end);
}

function htmlOf(notice: Disclaimer): string {
  if (notice.html !== undefined) return notice.html;
  const escaped = notice.text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  return `<p>${escaped.replace(/\r?\n/g, "<br>")}</p>`;
}

/** The whole content as first part of a multipart/mixed, the notice as second (RFC 2046 §5.1.3). */
function wrap(message: Buffer, root: MimePart, notice: Disclaimer): Buffer {
  const content = root.headers.fields.filter((field) => field.lower.startsWith("content-"));
  const others = root.headers.fields.filter(
    (field) => !field.lower.startsWith("content-") && field.lower !== "mime-version",
  );
  const body = message.subarray(root.bodyStart);
  const boundary = boundaryFor(message);
  const part = [
    `\r\n--${boundary}`,
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: quoted-printable",
    "",
    encodeQuotedPrintable(Buffer.from(notice.text.replace(/\r?\n/g, "\r\n"))),
    `--${boundary}--`,
    "",
  ].join("\r\n");
  return Buffer.concat([
    ...others.map((field) => field.bytes),
    Buffer.from(`MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="${boundary}"\r\n\r\n--${boundary}\r\n`),
    ...content.map((field) => field.bytes),
    Buffer.from("\r\n"),
    body,
    Buffer.from(part),
  ]);
}

function boundaryFor(message: Buffer): string {
  for (let number = 1; ; number++) {
    const boundary = `=_notice_${message.length}_${number}`;
    if (!message.includes(boundary)) return boundary;
  }
}
