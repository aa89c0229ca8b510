/** The name servers that this machine is configured with (/etc/resolv.conf), in the form `createResolver` takes. */
import { getServers } from "node:dns";

/** Never empty: without configuration it is the local resolver. */
export function systemServers(): string[] {
  const servers = getServers();
  return servers.length === 0 ? ["127.0.0.1:53"] : servers;
}
