/**
 * What one listener is told: where it listens, what it speaks, whom it trusts. Plain data plus the services it uses.
 * `reload` replaces everything but the address; sessions that are open keep the TLS keys they began with.
 */
import { type Budget, budgetDefaults } from "../../config/budget.ts";
import type { Logger } from "../../telemetry/log.ts";
import type { AccessRules, ConnectionLimitSet } from "./access.ts";
import type { FlowControl } from "./flow.ts";
import type { LoadGauge } from "./load.ts";
import type { Profile } from "./protocol.ts";
import type { ListenerTls } from "./tls.ts";

export interface ListenerOptions {
  host: string;
  /** 0 takes a free port. */
  port: number;
  /** Default "mx". */
  profile?: Profile;
  /** Several processes may listen on the same port (SO_REUSEPORT). */
  reusePort?: boolean;
  tls?: ListenerTls;
  /** Networks (addresses or CIDR) that may send a PROXY header; `required` refuses connections without one. */
  proxy?: { trusted: readonly string[]; required?: boolean };
  /** Networks that may use XCLIENT and XFORWARD. */
  xclientTrusted?: readonly string[];
  /** What a bare LF, bare CR or NUL in a message costs: the session (default), or the message alone. */
  bareNewline?: "close" | "reject";
  /** Wait before the greeting, ms; a client that talks in that time is refused. Default 0: no wait. */
  greetDelayMs?: number;
  /** Whether `user` may write `address` in MAIL FROM and, on submission listeners, in From. Default: yes. */
  maySendAs?: (user: string, address: string) => boolean;
  access?: AccessRules;
  /** Connection limits of this listener alone. Default: total and per peer as the budget says. */
  limits?: ConnectionLimitSet;
  /** Connection limits over all listeners of the service. */
  serviceLimits?: ConnectionLimitSet;
  /** Shared by all listeners and, through the gateway, by all workers. Default: one for this listener. */
  flow?: FlowControl;
  load?: LoadGauge;
  budget?: Budget;
  log?: Logger;
}

export function budgetOf(options: ListenerOptions): Budget {
  return options.budget ?? budgetDefaults;
}
