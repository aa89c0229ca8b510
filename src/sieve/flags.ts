/** IMAP flags as scripts name them (RFC 5232 §2). Pure; what is no flag is left out. */
const systemFlags = new Set(["\\answered", "\\flagged", "\\deleted", "\\seen", "\\draft"]);

/** Flags that a store takes: RFC 3501 §2.3.2 system flags (not \Recent) and keywords that are atoms. */
export function isFlag(text: string): boolean {
  if (text.startsWith("\\")) return systemFlags.has(text.toLowerCase());
  return /^[^\x00-\x20\x7f(){%*"\\\]]+$/.test(text);
}

/** Single flags of a list, each once, in order (§2, §5). */
export function flagList(texts: readonly string[]): string[] {
  const seen = new Set<string>();
  const flags: string[] = [];
  for (const flag of texts.flatMap((text) => text.split(/\s+/))) {
    if (flag === "" || !isFlag(flag) || seen.has(flag.toLowerCase())) continue;
    seen.add(flag.toLowerCase());
    flags.push(flag);
  }
  return flags;
}
