/**
 * Address rewriting for mail that leaves the house: lines "<address> <address>" or "@domain @domain"; lines that start
 * with "#" and blank lines say nothing. A whole address is looked up before its domain, without regard to case.
 * Failure: RangeError with name and line for a line that can't be used; BudgetExceeded "addressMapLines".
 */
import { type Budget, BudgetExceeded } from "../config/budget.ts";
import { domainOf, localPartOf } from "../message/envelope.ts";

export interface AddressMap {
  /** The address to use instead, or the address itself. The null reverse-path is never rewritten. */
  rewrite(address: string): string;
}

const form = /^(\S*@\S+)\s+(\S*@\S+)$/;

export function parseAddressMap(text: string, name: string, budget: Pick<Budget, "addressMapLines">): AddressMap {
  const lines = text.split(/\r?\n/);
  if (lines.length > budget.addressMapLines) throw new BudgetExceeded("addressMapLines", budget.addressMapLines, name);
  const entries = new Map<string, string>();
  for (const [index, raw] of lines.entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const parts = form.exec(line);
    if (!parts || parts[1]!.startsWith("@") !== parts[2]!.startsWith("@")) {
      throw new RangeError(`${name}:${index + 1}: write two addresses, or two domains with "@" before them`);
    }
    entries.set(parts[1]!.toLowerCase(), parts[2]!);
  }
  return {
    rewrite(address) {
      if (address === "") return address;
      const whole = entries.get(address.toLowerCase());
      if (whole !== undefined) return whole;
      const domain = entries.get(`@${domainOf(address)}`);
      return domain === undefined ? address : localPartOf(address) + domain;
    },
  };
}
