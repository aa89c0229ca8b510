/** Random smtpFilters scripts, valid by the grammar, in random layout and with comments in odd places. */
import fc from "fast-check";

const name = fc.constantFrom("a", "B_1", "mailFrom", "remoteSmtpIp", "smtpAction", "SPFResult", "set", "rule", "_x");
const text = fc
  .array(
    fc.constantFrom(
      "x",
      "%a%",
      "%mailFrom%",
      "%%",
      "%",
      '\\"',
      "\\\\",
      "\\d",
      "#",
      "/*",
      "é",
      " ",
      "\n",
      "\r\n",
      "'",
      "{",
      ";",
    ),
    { maxLength: 6 },
  )
  .map((parts) => `"${parts.join("")}"`);
const gap = fc.constantFrom("", " ", "\n", "\n\n\n", "\t", " # note\n", '\n# note { "\n', " /* block */ ");
const operand = fc.oneof(
  name,
  text,
  fc.constantFrom("7", "-1"),
  fc.tuple(name, text).map(([n, t]) => `${n} (${t})`),
);

const { testText } = fc.letrec<{ testText: string }>((tie) => ({
  testText: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc
      .tuple(fc.constantFrom("is", "isCase", "ipRange", "zzz"), gap, operand, gap, text)
      .map(([word, g1, first, g2, second]) => `${word}${g1}(${first},${g2}${second})`),
    fc
      .tuple(fc.constantFrom("anyOf", "ALLOF"), gap, fc.array(tie("testText"), { minLength: 1, maxLength: 3 }))
      .map(([word, g, tests]) => `${word} (${g}${tests.join(", ")})`),
    tie("testText").map((inner) => `not (${inner})`),
  ),
}));

const { statement } = fc.letrec<{ statement: string }>((tie) => {
  const body = fc
    .array(tie("statement"), { maxLength: 3 })
    .chain((items) => gap.map((g) => `{${g}${items.join(g)}${g}}`));
  return {
    statement: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      fc.tuple(name, gap).map(([n, g]) => `call${g}(${n});`),
      fc.tuple(name).map(([n]) => `call (${n}) onError tmpreject;`),
      fc.tuple(name, gap, text).map(([n, g, t]) => `set (${n}${g},${t})${g};`),
      name.map((n) => `export(${n});`),
      text.map((t) => `log (${t});`),
      fc.tuple(text, body).map(([t, b]) => `rule ${t} ${b}`),
      fc.tuple(testText, gap, body).map(([t, g, b]) => `if (${t})${g}${b}`),
      fc
        .tuple(testText, body, testText, body, body)
        .map(([t1, b1, t2, b2, b3]) => `if (${t1}) ${b1} else if (${t2}) ${b2} else ${b3}`),
    ),
  };
});

const block = fc
  .tuple(
    fc.constantFrom("event onConnect", "method m", "EVENT onEhlo"),
    gap,
    fc.array(statement, { maxLength: 4 }),
    gap,
  )
  .map(([head, g1, body, g2]) => `${head} {${g1}${body.join(g2)}${g1}}`);

export const randomScript = fc
  .tuple(gap, fc.array(block, { maxLength: 3 }), gap)
  .map(([g1, blocks, g2]) => g1 + blocks.join(g2) + g2);
