/** RFC 5183: the environment test; vendor items are the administrator's own (settings.environment). */
import type { SieveHost } from "../host.ts";
import { settingEffects } from "../lower.ts";
import type { Extension } from "../registry.ts";

/** The value of an item, undefined for one that is not known (§4: the test is false then). */
export function environmentItem(host: SieveHost, item: string): string | undefined {
  const { settings, input } = host;
  const given = input.environment?.[item];
  if (given !== undefined) return given;
  switch (item) {
    case "domain":
      return settings.domain;
    case "host":
      return settings.hostname;
    case "location":
      return settings.location;
    case "phase":
      return settings.phase;
    case "name":
      return settings.implementation;
    case "version":
      return settings.version;
    default:
      return settings.environment[item];
  }
}

export const environment: Extension = {
  capability: "environment",
  specification: "RFC 5183",
  doc: {
    summary:
      "Facts about the server and the client: domain, host, location, phase, name, version, remote-host, remote-ip.",
    example: `if environment :matches "remote-ip" "192.0.2.*" { keep; }`,
  },
  tests: [
    {
      kind: "test",
      name: "environment",
      positional: [
        { name: "name", type: "string" },
        { name: "key list", type: "list" },
      ],
      match: true,
      lower(call, to) {
        const args = to.values(call.arguments[0]);
        return to.match(call, to.subject("environment", {}, settingEffects, args), call.arguments[1]);
      },
    },
  ],
  evaluation: {
    sources: {
      environment: (host, _data, args) => {
        const value = environmentItem(host, (args[0] ?? "").toLowerCase());
        return value === undefined ? [] : [value];
      },
    },
  },
};
