/** A script of some 5,000 lines with names, rules and texts of many kinds, for tests of the editor's time. */
export function largeScript(methods = 240): string {
  const lines = ["event onMailFrom {"];
  for (let i = 0; i < methods; i++) lines.push(`  call (rule_${i});`);
  lines.push("}");
  for (let i = 0; i < methods; i++) {
    lines.push(`method rule_${i} {`);
    for (let j = 0; j < 4; j++) {
      lines.push(
        `  if (anyOf (is (mailFromDomain, "bad${i}-${j}.example"), ipRange (remoteSmtpIp, "192.0.${j}.0/24"))) {`,
        '    set (smtpAction, "reject");',
        '    set (smtpExplanation, "No mail from %mailFromDomain%");',
        "  }",
      );
    }
    lines.push("  # end", "}");
  }
  return `${lines.join("\n")}\n`;
}
