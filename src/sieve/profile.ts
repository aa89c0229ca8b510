/** placeholder */

import type { Checker } from "./check.ts";
import type { Call } from "./registry.ts";
export interface Profile {
  name: string;
  check(call: Call, check: Checker): void;
}
export const profiles = { rfc: { name: "rfc", check() {} } as Profile };
