/**
 * The configuration's one source of truth (DESIGN §7): loading, defaults, JSON Schema and docs/reference/config.md are
 * all derived from it. Every object is strict: an unknown key is an error with a suggestion.
 * Units: durations are "90s", "5m", "8h", "2d" or a number of seconds; they arrive in the code as milliseconds.
 */
import { z } from "zod";
import { type BudgetField, budgetDefaults } from "./budget.ts";

const durationUnits: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const durationForm = /^(\d{1,9})\s*(ms|s|m|h|d)$/;

/** Milliseconds of "5m", "30 s", or a bare number of seconds; undefined when it is neither. */
export function parseDuration(value: string | number): number | undefined {
  if (typeof value === "number") return Number.isFinite(value) && value >= 0 ? value * 1_000 : undefined;
  const parts = durationForm.exec(value.trim());
  return parts ? Number(parts[1]) * durationUnits[parts[2]!]! : undefined;
}

function duration(defaultValue: string) {
  return z
    .union([z.string().regex(durationForm, 'write a duration such as "30s", "5m", "8h" or "2d"'), z.number().min(0)])
    .default(defaultValue)
    .transform((value) => parseDuration(value) ?? 0);
}

/** "127.0.0.1:2525", "[::1]:25", "*:25". */
export const listenAddress = z
  .string()
  .regex(
    /^(\[[0-9a-fA-F:.]+\]|\*|[^:\s[\]]+):\d{1,5}$/,
    'write host and port, such as "127.0.0.1:2525" or "[::1]:2525"',
  );

const domainName = z
  .string()
  .min(1)
  .max(253)
  .transform((name) => name.toLowerCase().replace(/\.$/, ""));
const nextHop = z
  .string()
  .regex(
    /^(lmtp:|smtps:)?(\[[^\]\s]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?$/,
    'write a next hop such as "mx.example.net", "mx.example.net:2525" or "[192.0.2.7]:25"',
  );
const filePath = z.string().min(1);

const tls = z.strictObject({
  cert: filePath.describe("PEM file with the certificate chain"),
  key: filePath.describe("PEM file with the private key"),
  mode: z.enum(["starttls", "implicit"]).default("starttls").describe("offer STARTTLS, or TLS from the first byte"),
  clientCa: filePath.optional().describe("PEM file: client certificates signed by it are recorded as verified"),
  sni: z
    .array(z.strictObject({ host: domainName, cert: filePath, key: filePath }))
    .default([])
    .describe("further certificates by server name"),
});

const listenerLimits = z.strictObject({
  connections: z.number().int().min(0).optional().describe("connections at a time, 0 = no limit"),
  connectionsPerPeer: z.number().int().min(0).optional().describe("connections at a time from one peer, IPv6 by /64"),
  newConnectionsPerPeerPerMinute: z.number().int().min(0).optional().describe("new connections a minute from one peer"),
});

const accessRule = z.strictObject({
  action: z.enum(["allow", "deny"]),
  networks: z.array(z.string()).min(1).describe("addresses, a-b ranges or networks"),
  priority: z.number().int().min(0).default(100).describe("lowest number is strongest; on a tie, allow wins"),
  limits: listenerLimits.optional(),
});

const listener = z.strictObject({
  address: listenAddress.describe("host:port to listen on"),
  tls: tls.optional(),
  protocol: z.enum(["smtp", "submission", "lmtp"]).default("smtp").describe("submission requires AUTH (RFC 6409)"),
  proxy: z.array(z.string()).default([]).describe("hosts trusted to speak the PROXY protocol, v1 and v2"),
  xclient: z.array(z.string()).default([]).describe("hosts trusted to speak XCLIENT and XFORWARD"),
  limits: listenerLimits.optional(),
  access: z.array(accessRule).default([]).describe("allow and deny rules of this listener"),
});

const smartHost = z.strictObject({
  host: nextHop,
  port: z.number().int().min(1).max(65_535).default(25),
  tls: z.enum(["none", "opportunistic", "required", "implicit"]).default("opportunistic"),
  user: z.string().default(""),
  password: z.string().default(""),
  weight: z.number().int().min(1).max(1_000).default(1),
});

const failureMode = z.enum(["accept", "reject", "tempfail", "wait"]);
const scannerCommon = {
  name: z.string().min(1).max(64),
  onError: failureMode.default("wait").describe("what a failure of this scanner means; wait keeps the mail queued"),
  timeout: duration("60s"),
  concurrency: z.number().int().min(1).max(1_000).default(10),
  maxBytes: z.number().int().min(0).default(26_214_400).describe("larger messages are not scanned; 0 = no limit"),
  priority: z.number().int().min(0).default(100).describe("order in the filter chain, low first"),
};
const scanner = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("clamav"), address: z.string(), ...scannerCommon }),
  z.strictObject({ type: z.literal("spamassassin"), address: z.string(), ...scannerCommon }),
  z.strictObject({ type: z.literal("rspamd"), address: z.string(), password: z.string().optional(), ...scannerCommon }),
  z.strictObject({ type: z.literal("milter"), address: z.string(), ...scannerCommon }),
]);

const limitFields = Object.fromEntries(
  (Object.keys(budgetDefaults) as BudgetField[]).map((field) => [field, z.number().min(0).optional()]),
) as Record<BudgetField, z.ZodOptional<z.ZodNumber>>;

export const configSchema = z.strictObject({
  server: z
    .strictObject({
      name: domainName.default("localhost").describe("name in greetings, EHLO and Received"),
      postmaster: z.string().default("").describe("postmaster's address; postmaster@<server.name> when empty"),
    })
    .prefault({}),
  data: filePath.default("./var").describe("folder of queue, store and state; made when missing"),
  listeners: z
    .array(listener)
    .min(1)
    .default([{ address: "127.0.0.1:2525", protocol: "smtp", proxy: [], xclient: [], access: [] }]),
  policy: z
    .strictObject({
      smtpFilters: filePath.nullable().default(null).describe("the smtpFilters script; null = the engine's own policy"),
      sieve: z
        .array(
          z.strictObject({
            level: z.enum(["server", "domain", "account"]),
            file: filePath,
            match: z.string().default("").describe("domain or account address this script is for"),
            priority: z.number().int().min(0).default(100),
          }),
        )
        .default([]),
      sieveProfile: z.enum(["rfc", "axigen"]).default("rfc"),
    })
    .prefault({}),
  domains: z
    .strictObject({
      local: z.array(domainName).default([]).describe("delivered to the store"),
      routes: z.record(domainName, nextHop).default({}).describe("recipient domain → next hop"),
      aliases: z.record(z.string(), z.union([z.string(), z.array(z.string())])).default({}),
    })
    .prefault({}),
  accounts: z
    .array(
      z.strictObject({
        address: z.string().regex(/^[^@\s]+@[^@\s]+$/, "write a full address, user@domain"),
        password: z.string().default("").describe("$scrypt$… as printed by `postern hash`; empty = can't log in"),
        quota: z.number().int().min(0).default(0).describe("octets; 0 = no limit"),
      }),
    )
    .default([]),
  relay: z
    .strictObject({
      smartHost: z
        .union([z.null(), nextHop, smartHost, z.array(smartHost)])
        .default(null)
        .describe("next hop for all other mail; null = deliver by MX"),
      trustedNetworks: z.array(z.string()).default([]).describe("may relay without AUTH"),
      startTls: z.enum(["none", "opportunistic", "required"]).default("opportunistic"),
      srsSecret: z.string().default("").describe("turns on SRS for forwarded mail"),
      ipv6: z.boolean().default(true),
    })
    .prefault({}),
  smtp: z
    .strictObject({
      earlyTalkerWait: duration("0s").describe("wait before the greeting to catch clients that talk first"),
      plainTextAuth: z.boolean().default(false).describe("offer AUTH without TLS; keep this off"),
      bareNewline: z.enum(["close", "reject"]).default("close"),
    })
    .prefault({}),
  queue: z
    .strictObject({
      firstRetry: duration("5m"),
      maxRetry: duration("8h"),
      attempts: z.number().int().min(1).max(10_000).default(20),
      concurrency: z.number().int().min(1).max(10_000).default(100).describe("deliveries at a time for each worker"),
      perDestination: z.number().int().min(1).max(1_000).default(20),
      fileThreshold: z.number().int().min(4_096).default(131_072).describe("larger bodies get a file of their own"),
    })
    .prefault({}),
  scanners: z.array(scanner).default([]),
  greylist: z
    .strictObject({
      enabled: z.boolean().default(false),
      delay: duration("1s"),
      window: duration("10m"),
      lifetime: duration("36d"),
      autoWhitelist: z.number().int().min(0).default(5),
    })
    .prefault({}),
  geoip: z.strictObject({ database: filePath.nullable().default(null) }).prefault({}),
  dns: z
    .strictObject({
      servers: z.array(z.string()).default([]).describe('"127.0.0.1:53"; empty = those of /etc/resolv.conf'),
      timeout: duration("5s"),
    })
    .prefault({}),
  admin: z.strictObject({ address: listenAddress.nullable().default(null) }).prefault({}),
  log: z
    .strictObject({
      level: z
        .number()
        .int()
        .min(0)
        .max(31)
        .default(15)
        .describe("1 critical + 2 error + 4 warning + 8 info + 16 protocol"),
      pretty: z.boolean().optional().describe("default: only on a terminal"),
    })
    .prefault({}),
  limits: z.strictObject(limitFields).prefault({}),
  workers: z.number().int().min(1).max(256).default(2),
});

export type Config = z.output<typeof configSchema>;
export type ListenerConfig = Config["listeners"][number];
export type ScannerConfig = Config["scanners"][number];
export type SmartHostConfig = z.output<typeof smartHost>;
