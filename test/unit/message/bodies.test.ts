import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { bodiesOf } from "../../../src/message/bodies.ts";
import { parseMessage } from "../../../src/message/parse.ts";

/** A tree as text: "mixed(plain, alternative(plain, html), pdf!)"; "!" marks an attachment. */
function build(tree: string, depth = 0): string {
  const group = /^(\w+)\((.*)\)$/s.exec(tree);
  if (group === null) {
    const name = tree.replace("!", "");
    const type =
      name === "plain" || name === "html" ? `text/${name}` : name === "png" ? "image/png" : `application/${name}`;
    return `Content-Type: ${type}\r\nContent-Disposition: ${tree.endsWith("!") ? "attachment" : "inline"}\r\n\r\n${name}`;
  }
  const parts: string[] = [];
  let open = 0;
  let item = "";
  for (const c of `${group[2]!},`) {
    if (c === "," && open === 0) {
      parts.push(item.trim());
      item = "";
      continue;
    }
    if (c === "(") open++;
    if (c === ")") open--;
    item += c;
  }
  const boundary = `b${depth}`;
  const body = parts.map((part) => `--${boundary}\r\n${build(part, depth + 1)}\r\n`).join("");
  return `Content-Type: multipart/${group[1]}; boundary=${boundary}\r\n\r\n${body}--${boundary}--`;
}

const cases: Array<[tree: string, text: string, html: string, attachments: string]> = [
  ["plain", "plain", "plain", ""],
  ["html", "html", "html", ""],
  ["alternative(plain, html)", "plain", "html", ""],
  ["alternative(html)", "html", "html", ""],
  ["mixed(plain, pdf!)", "plain", "plain", "pdf"],
  ["mixed(alternative(plain, html), pdf!, plain!)", "plain", "html", "pdf plain"],
  ["mixed(alternative(plain, related(html, png)), pdf!)", "plain", "html", "png pdf"],
  ["mixed(plain, png, plain)", "plain png plain", "plain png plain", ""],
  ["pdf", "", "", "pdf"],
];
for (const [tree, text, html, attachments] of cases) {
  test(`bodies of ${tree}`, () => {
    const bodies = bodiesOf(parseMessage(Buffer.from(build(tree)), budgetWith()).root);
    const names = (parts: typeof bodies.text) => parts.map((part) => part.subtype).join(" ");
    assert.deepEqual([names(bodies.text), names(bodies.html), names(bodies.attachments)], [text, html, attachments]);
  });
}

test("every leaf is in a list", () => {
  const root = parseMessage(
    Buffer.from(build("mixed(related(html, png, pdf), alternative(plain, calendar), plain!)")),
    budgetWith(),
  ).root;
  const { text, html, attachments } = bodiesOf(root);
  for (const part of root.walk())
    if (!part.isMultipart) assert.ok([...text, ...html, ...attachments].includes(part), part.mediaType);
});
