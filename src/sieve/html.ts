/**
 * The readable text of HTML, for tests and excerpts (RFC 5173 §5.3, RFC 5703 §5): tags and comments removed, content
 * of script and style left out, blocks on lines of their own, common character references decoded.
 * Invariants: one pass, linear time, never executes or fetches anything. Failure: none; any text gives some text.
 */
const named: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };
const blocks = /^\/?(?:p|div|br|li|tr|table|h[1-6]|blockquote|pre|ul|ol|hr)$/;

export function htmlToText(html: string): string {
  let out = "";
  let at = 0;
  while (at < html.length) {
    const open = html.indexOf("<", at);
    if (open < 0) return out + decodeReferences(html.slice(at));
    out += decodeReferences(html.slice(at, open));
    if (html.startsWith("<!--", open)) {
      const end = html.indexOf("-->", open);
      at = end < 0 ? html.length : end + 3;
      continue;
    }
    const close = html.indexOf(">", open);
    if (close < 0) return out;
    const name =
      /^\/?[A-Za-z][A-Za-z0-9]*/.exec(html.slice(open + 1, Math.min(close, open + 20)))?.[0].toLowerCase() ?? "";
    at = close + 1;
    if (name === "script" || name === "style") at = endOf(html, name, at);
    else if (blocks.test(name)) out += "\n";
  }
  return out;
}

/** Behind the end tag of an element whose content is not text. */
function endOf(html: string, name: string, from: number): number {
  const end = new RegExp(`</${name}\\s*>`, "gi");
  end.lastIndex = from;
  return end.exec(html) === null ? html.length : end.lastIndex;
}

function decodeReferences(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]{2,6}));/gi, (whole, decimal, hex, name) => {
    if (name !== undefined) return named[String(name).toLowerCase()] ?? whole;
    const point = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
    return point > 0 && point <= 0x10ffff && !(point >= 0xd800 && point <= 0xdfff)
      ? String.fromCodePoint(point)
      : whole;
  });
}
