/** Finds the reply code and enhanced status code (RFC 3463) in the text of a report. Pure, linear. */

const replyForm = /(?:^|[\s:;'"(<[#>])([245]\d{2})(?=[\s\-,.#]|$)/;
const statusForm = /(?:^|[\s:;'"(<[#>-])([245]\.\d{1,3}\.\d{1,3})(?![\d.])/;

/** First SMTP reply code in the text, or 0. */
export function replyCodeIn(text: string): number {
  return Number(replyForm.exec(text)?.[1] ?? 0);
}

/** First enhanced status code in the text, or "". */
export function statusIn(text: string): string {
  return statusForm.exec(text)?.[1] ?? "";
}

/** True for codes that name only a class ("5.0.0") or say nothing of the cause. */
export function isVague(status: string): boolean {
  return status === "" || /^[245]\.(?:0\.0|5\.0|3\.0)$/.test(status);
}
