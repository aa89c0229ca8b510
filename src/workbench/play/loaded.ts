/** A compiled script with its text and place, as everything that plays sessions needs it. */
import type { Policy } from "../../policy/compile.ts";

export interface LoadedPolicy {
  policy: Policy;
  source: string;
  /** Where the script lies: lists it names are looked for there. */
  folder: string;
}
