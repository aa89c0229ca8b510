/**
 * Which parts of a message are its text, its HTML and its attachments (the algorithm of RFC 8621 §4.1.4).
 * Invariant: every part that is no multipart is in at least one list. Failure: BudgetExceeded from the MIME tree.
 */
import type { MimePart } from "./mime.ts";

export interface Bodies {
  text: MimePart[];
  html: MimePart[];
  attachments: MimePart[];
  /** Parts meant to be shown in place, whatever list they are in. */
  inline: MimePart[];
}

export function bodiesOf(root: MimePart): Bodies {
  const bodies: Bodies = { text: [], html: [], attachments: [], inline: [] };
  collect([root], "mixed", { ...bodies, inAlternative: false });
  return bodies;
}

interface Lists {
  /** Absent once another form of the same content was found. */
  text: MimePart[] | undefined;
  html: MimePart[] | undefined;
  attachments: MimePart[];
  inline: MimePart[];
  inAlternative: boolean;
}

function collect(parts: readonly MimePart[], multipart: string, lists: Lists): void {
  const { attachments, inline } = lists;
  let { text, html } = lists;
  const [textBefore, htmlBefore] = [text?.length ?? -1, html?.length ?? -1];
  for (const [index, part] of parts.entries()) {
    const shown = !part.isMultipart && isInline(part, index, multipart);
    if (shown) inline.push(part);
    if (part.isMultipart) {
      const inAlternative = lists.inAlternative || part.subtype === "alternative";
      collect(part.children, part.subtype, { text, html, attachments, inline, inAlternative });
    } else if (!shown) {
      attachments.push(part);
    } else if (multipart === "alternative") {
      if (part.mediaType === "text/plain") text?.push(part);
      else if (part.mediaType === "text/html") html?.push(part);
      else attachments.push(part);
    } else {
      if (lists.inAlternative && part.mediaType === "text/plain") html = undefined;
      if (lists.inAlternative && part.mediaType === "text/html") text = undefined;
      text?.push(part);
      html?.push(part);
      if ((text === undefined || html === undefined) && isMedia(part)) attachments.push(part);
    }
  }
  if (multipart !== "alternative" || text === undefined || html === undefined) return;
  // Only one form was there: it stands for the other.
  const [newText, newHtml] = [text.slice(textBefore), html.slice(htmlBefore)];
  if (newText.length === 0) text.push(...newHtml);
  else if (newHtml.length === 0) html.push(...newText);
}

function isInline(part: MimePart, index: number, multipart: string): boolean {
  if (part.disposition === "attachment") return false;
  if (part.mediaType !== "text/plain" && part.mediaType !== "text/html" && !isMedia(part)) return false;
  return index === 0 || (multipart !== "related" && (isMedia(part) || part.filename === ""));
}

/** Types that a reader shows in place (RFC 8621 §4.1.4). */
export function isMedia(part: MimePart): boolean {
  return part.type === "image" || part.type === "audio" || part.type === "video";
}
