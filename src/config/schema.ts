/**
 * The configuration's one source of truth (DESIGN §7): loading, defaults, JSON Schema and docs/reference/config.md are
 * all derived from it. Every object is strict: an unknown key is an error with a suggestion.
 * Units: durations are "90s", "5m", "8h", "2d" or a number of seconds; they arrive in the code as milliseconds.
 */
import { z } from "zod";
import { compileRegex } from "../language/regex.ts";
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
  groups: z
    .array(z.string().regex(/^[\w-]+$/, "a group's name, such as X25519"))
    .default([])
    .describe("key exchange groups in order of preference; empty: OpenSSL's, the post-quantum X25519MLKEM768 first"),
  sni: z
    .array(z.strictObject({ host: domainName, cert: filePath, key: filePath }))
    .default([])
    .describe("further certificates: for `host` and the names they hold"),
});

const listenerLimits = z.strictObject({
  connections: z.number().int().min(0).optional().describe("connections at a time, 0 = no limit"),
  connectionsPerPeer: z.number().int().min(0).optional().describe("connections at a time from one peer, IPv6 by /64"),
  newConnectionsPerMinute: z.number().int().min(0).optional().describe("new connections a minute, all peers together"),
  newConnectionsPerPeerPerMinute: z.number().int().min(0).optional().describe("new connections a minute from one peer"),
});

const accessRule = z.strictObject({
  action: z.enum(["allow", "deny"]),
  networks: z.array(z.string()).min(1).describe("addresses, a-b ranges or networks"),
  priority: z.number().int().min(0).default(100).describe("lowest number is strongest; on a tie, allow wins"),
  limits: listenerLimits.optional().describe("of an allow rule: what it names is limited, and nothing else"),
});

/** Where a load level begins, for levels 1, 2 and 3 (docs/reference/smtp.md, "Overload"). */
const loadSteps = (first: number, second: number, third: number) =>
  z.tuple([z.number().min(0), z.number().min(0), z.number().min(0)]).default([first, second, third]);

const listener = z.strictObject({
  address: listenAddress.describe("host:port to listen on"),
  tls: tls.optional(),
  protocol: z.enum(["smtp", "submission", "lmtp"]).default("smtp").describe("submission requires AUTH (RFC 6409)"),
  proxy: z.array(z.string()).default([]).describe("hosts trusted to speak the PROXY protocol, v1 and v2"),
  proxyRequired: z.boolean().default(false).describe("refuse those hosts' connections without a PROXY header"),
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

/** As parseSocketAddress of src/scanners/stream.ts reads it. */
const socketAddress = z
  .string()
  .regex(
    /^(?:(?:unix:|local:(?:\/\/)?)?\/.+|(?:(?:tcp|inet6?)(?::\/\/|:))?(?:.+:[1-9]\d{0,4}|[1-9]\d{0,4}@.+))$/,
    'write "host:port" or "unix:/path"',
  );
const failureMode = z.enum(["accept", "reject", "tempfail", "wait"]);
const scannerCommon = {
  name: z.string().min(1).max(64),
  onError: failureMode.default("wait").describe("what a failure of this scanner means; wait keeps the mail queued"),
  timeout: duration("60s"),
  concurrency: z.number().int().min(1).max(1_000).default(10),
  maxBytes: z.number().int().min(0).default(26_214_400).describe("larger messages are not scanned; 0 = no limit"),
  priority: z.number().int().min(0).default(100).describe("order in the filter chain, low first"),
};
/** For scanners that need no session: a script may name them. */
const askedWhen = {
  use: z
    .enum(["always", "script"])
    .default("always")
    .describe("always: in processing, on all mail; script: where a script sets filterAddress to scanner:<name>"),
};
const found = z.enum(["reject", "discard", "quarantine", "tag"]);
const verdicts = {
  onVirus: found.default("reject"),
  onSpam: found.default("tag").describe("what the scanner's own spam verdict means; tag writes the level alone"),
};
const pattern = z.string().superRefine((text, { addIssue }) => {
  try {
    compileRegex(text, "octet", budgetDefaults);
  } catch (error) {
    addIssue((error as Error).message);
  }
});
const socketAction = z.enum(["accept", "reject", "tmpreject", "discard", "quarantine"]);
const socketProtocol = z.strictObject({
  request: z
    .array(
      z.union([
        z.strictObject({ text: z.string() }),
        z.strictObject({ message: z.enum(["raw", "dotted", "chunked"]) }),
      ]),
    )
    .min(1)
    .describe("sent in order: texts with %size%, %from%, %rcpt%, %ip%, %helo%, %user%, %id%, and the message"),
  replyEnd: z.enum(["line", "nul", "close"]).default("line").describe("what ends the server's answer"),
  keepOpen: z.boolean().default(false).describe("the connection serves the next message too"),
  rules: z
    .array(
      z.strictObject({
        pattern: pattern.describe("regular expression, anywhere in the answer; the first that matches decides"),
        virus: z.string().optional().describe("name of the virus; $1…$9 are the pattern's groups, here and below"),
        score: z.string().optional(),
        threshold: z.string().optional(),
        action: socketAction.optional(),
        message: z.string().optional(),
      }),
    )
    .min(1),
  ping: z.strictObject({ text: z.string(), pattern }).optional().describe("asked to see whether it is up"),
});
const scanner = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("clamav"), address: socketAddress, ...scannerCommon, ...askedWhen, ...verdicts }),
  z.strictObject({
    type: z.literal("spamassassin"),
    address: socketAddress,
    ...scannerCommon,
    ...askedWhen,
    ...verdicts,
  }),
  z.strictObject({
    type: z.literal("rspamd"),
    address: socketAddress,
    password: z.string().optional(),
    ...scannerCommon,
    ...askedWhen,
    ...verdicts,
  }),
  z.strictObject({
    type: z.literal("socket"),
    address: socketAddress,
    protocol: socketProtocol.describe("what to send and how to read the answer"),
    ...scannerCommon,
    ...askedWhen,
    ...verdicts,
  }),
  z.strictObject({
    type: z.literal("hook"),
    url: z.url({ protocol: /^https?$/ }).describe("where MTA Hooks requests are posted"),
    headers: z.record(z.string(), z.string()).default({}).describe("more header fields of the request"),
    ...scannerCommon,
    ...askedWhen,
  }),
  z.strictObject({ type: z.literal("milter"), address: socketAddress, ...scannerCommon }),
]);

const signatureKey = z.strictObject({
  domain: domainName.describe("signs mail whose From is in this domain"),
  selector: z.string().regex(/^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/, "write the name of a key below _domainkey"),
  key: filePath.describe("PEM file with the private key, RSA or Ed25519; read again when it changes"),
});

const candidate = z.strictObject({
  smtpFilters: filePath.describe("the script on trial"),
  enforce: z
    .number()
    .min(0)
    .max(100)
    .default(0)
    .describe("percent of the clients for which it decides; 0 = it only watches"),
  stepBack: z
    .strictObject({
      flips: z.number().min(0).max(100).default(10).describe("percent of transactions decided otherwise"),
      errors: z.number().min(0).max(100).default(1).describe("percent of events in which it fails"),
      latency: duration("100ms").describe("mean time of an event over that of the live policy"),
      minimum: z.number().int().min(1).default(50).describe("transactions before any of these counts"),
      window: duration("60s").describe("they are counted over this time"),
    })
    .prefault({})
    .describe("the trial ends by itself when one of these is passed"),
});

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
    .default([
      { address: "127.0.0.1:2525", protocol: "smtp", proxy: [], proxyRequired: false, xclient: [], access: [] },
    ]),
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
      lists: z
        .record(z.string().min(1), filePath)
        .default({})
        .describe("named lists for Sieve's :list (RFC 6134): name → file, as for inList of scripts"),
      processingWait: duration("10s").describe(
        "with scanners or Sieve scripts: how long the reply to a message waits for their verdict, unless the policy sets waitProcessingTimeout",
      ),
      relayFolders: z
        .boolean()
        .default(false)
        .describe(
          "fileinto for recipients stored elsewhere names the folder in a header field; otherwise it is a keep",
        ),
      candidate: candidate.nullable().default(null).describe("a policy on trial beside smtpFilters"),
    })
    .prefault({}),
  domains: z
    .strictObject({
      local: z.array(domainName).default([]).describe("delivered to the store"),
      relay: z.array(domainName).default([]).describe("mail for them is taken from everyone and passed on"),
      routes: z.record(domainName, nextHop).default({}).describe("recipient domain → next hop"),
      userMaps: z
        .array(z.strictObject({ name: z.string().regex(/^\S+$/, "write a name without blanks"), file: filePath }))
        .default([])
        .describe("files of lines <pattern> <host>: which back end serves an address; asked in order"),
      frontEnd: z
        .strictObject({
          verify: z.boolean().default(true).describe("ask the back end at RCPT whether it takes the recipient"),
          authenticate: z
            .boolean()
            .default(false)
            .describe("users of the maps log in with AUTH PLAIN or LOGIN, checked at their back end"),
        })
        .nullable()
        .default(null)
        .describe(
          "a recipient that a user map names goes to its back end, whatever its domain, and anyone may write to it",
        ),
      aliases: z
        .record(z.string(), z.union([z.string(), z.array(z.string())]))
        .default({})
        .describe("address → addresses; @domain → where all other mail of a domain goes"),
      subaddress: z
        .strictObject({
          delimiter: z.string().max(1).default("+").describe("separates user and detail; empty = no subaddresses"),
          folders: z.boolean().default(false).describe("a detail names the folder that the mail is put in"),
        })
        .prefault({}),
    })
    .prefault({}),
  accounts: z
    .array(
      z.strictObject({
        address: z.string().regex(/^[^@\s]+@[^@\s]+$/, "write a full address, user@domain"),
        password: z.string().default("").describe("$scrypt$… as printed by `postern hash`; empty = can't log in"),
        scram: z
          .string()
          .regex(/^SCRAM-SHA-256\$/, "write SCRAM-SHA-256$… as printed by `postern hash --scram`")
          .optional()
          .describe("keys for SCRAM-SHA-256 and SCRAM-SHA-256-PLUS"),
        plain: z.string().min(1).optional().describe("clear-text password; CRAM-MD5 can't work without"),
        quota: z.number().int().min(0).default(0).describe("octets; 0 = no limit"),
      }),
    )
    .default([]),
  ldap: z
    .strictObject({
      url: z.string().regex(/^ldaps?:\/\/[^\s/]+$/, 'write "ldap://host:port" or "ldaps://host:port"'),
      startTls: z.boolean().default(false).describe("StartTLS on an ldap: connection; the certificate must be valid"),
      ca: filePath.nullable().default(null).describe("PEM file of trusted roots instead of the built-in ones"),
      bindDn: z.string().default("").describe("who searches; empty = anonymous"),
      password: z.string().default(""),
      base: z.string().describe("where to search, with all below it"),
      mailAttributes: z
        .array(z.string().min(1))
        .min(1)
        .default(["mail", "mailAlternateAddress"])
        .describe("hold addresses; the first value of the first one is the account's name"),
      hostAttribute: z.string().min(1).default("mailHost").describe("names the back end, for userMap"),
      accounts: z.boolean().default(true).describe("entries are accounts of local domains and log in by a bind"),
      userMap: z.boolean().default(false).describe("entries with a host are a user map, asked after the files"),
      timeout: duration("5s"),
    })
    .nullable()
    .default(null)
    .describe("a directory of users beside `accounts`"),
  tokens: z
    .strictObject({
      issuer: z.string().min(1).describe("the token's iss"),
      audience: z.string().min(1).describe("must be in the token's aud"),
      keys: filePath.describe("file with the issuer's JSON Web Key Set; read again when a token names a new key"),
      userClaim: z.string().min(1).default("email").describe("claim that holds the account's address"),
    })
    .nullable()
    .default(null)
    .describe("turns on XOAUTH2 and OAUTHBEARER"),
  relay: z
    .strictObject({
      smartHost: z
        .union([z.null(), nextHop, smartHost, z.array(smartHost)])
        .default(null)
        .describe("next hop for all other mail; null = deliver by MX"),
      trustedNetworks: z.array(z.string()).default([]).describe("may relay without AUTH"),
      startTls: z.enum(["none", "opportunistic", "required"]).default("opportunistic"),
      tls: z
        .strictObject({
          mtaSts: z.boolean().default(true).describe("obey MTA-STS policies (RFC 8461)"),
          mtaStsPort: z.number().int().min(1).max(65_535).default(443).describe("HTTPS port of policy hosts"),
          dane: z.boolean().default(false).describe("obey TLSA records; needs a resolver that validates DNSSEC"),
          ca: filePath.nullable().default(null).describe("PEM file of trusted roots instead of the built-in ones"),
          byDomain: z
            .record(domainName, z.enum(["none", "opportunistic", "encrypt", "required", "dane", "mta-sts"]))
            .default({})
            .describe("recipient domain → policy, over everything else"),
        })
        .prefault({}),
      tlsReports: z
        .strictObject({
          contact: z.string().min(1).describe("address of the people who can answer questions"),
          from: z.string().default("").describe("sender of the reports; postmaster@<server.name> when empty"),
          every: duration("1d"),
        })
        .nullable()
        .default(null)
        .describe("collects TLS results and reports them to the domains that ask for it (RFC 8460)"),
      srsSecret: z
        .union([z.string(), z.array(z.string())])
        .default("")
        .describe("turns on SRS for forwarded mail; of several the first signs, all are accepted"),
      ipv6: z.boolean().default(true),
      sourceAddress: z
        .string()
        .default("")
        .describe("local address for outgoing connections; empty = the system's choice"),
      sourceAddresses: z
        .record(domainName, z.union([z.string(), z.array(z.string()).min(1)]))
        .default({})
        .describe("recipient domain → local address, or a pool used in turn"),
      ownAddresses: z
        .array(z.string())
        .default([])
        .describe("addresses that lead here, beside those of listeners on port 25: an MX list is cut at them"),
      allowSpecialAddresses: z
        .boolean()
        .default(false)
        .describe("let MX records lead to loopback and private addresses; for laboratories and closed networks"),
    })
    .prefault({}),
  rewriting: z
    .strictObject({
      sender: filePath.nullable().default(null).describe("address map for reverse-paths of mail that leaves the house"),
      recipient: filePath.nullable().default(null).describe("address map for recipients of mail that leaves the house"),
      disclaimer: z
        .strictObject({ text: z.string().min(1), html: z.string().optional() })
        .nullable()
        .default(null)
        .describe("put on mail of authenticated senders that leaves the house"),
      copies: z
        .array(
          z.strictObject({
            sender: z.string().default("*").describe("address with * for any characters"),
            recipient: z.string().default("*").describe("address with * for any characters"),
            to: z.string().regex(/^[^@\s]+@[^@\s]+$/, "write a full address, user@domain"),
          }),
        )
        .default([])
        .describe("blind copies: journal and archive"),
    })
    .prefault({}),
  store: z
    .strictObject({
      defaultQuota: z.number().int().min(0).default(0).describe("octets for accounts without one; 0 = no limit"),
      overQuota: z.enum(["defer", "reject"]).default("defer").describe("what mail for a full mailbox meets"),
      quarantine: duration("30d"),
      specialUse: z
        .record(z.string().regex(/^\\[A-Za-z]+$/, 'write an attribute such as "\\Junk"'), z.string().min(1))
        .default({
          "\\Archive": "Archive",
          "\\Drafts": "Drafts",
          "\\Junk": "Junk",
          "\\Sent": "Sent",
          "\\Trash": "Trash",
        })
        .describe("folders for Sieve's special-use (RFC 8579): attribute → folder, for accounts that have the folder"),
    })
    .prefault({}),
  smtp: z
    .strictObject({
      earlyTalkerWait: duration("0s").describe("wait before the greeting to catch clients that talk first"),
      plainTextAuth: z.boolean().default(false).describe("offer AUTH without TLS; keep this off"),
      bareNewline: z.enum(["close", "reject"]).default("close"),
      antiImpersonation: z
        .boolean()
        .default(true)
        .describe("authenticated users write as their own address or an alias of theirs, in MAIL FROM and From"),
      certificateCheck: duration("10s").describe("how often certificate files are looked at for a change"),
      limits: listenerLimits.optional().describe("connection limits over all listeners"),
      access: z.array(accessRule).default([]).describe("rules of the SMTP service; a listener's own go first"),
    })
    .prefault({}),
  access: z.array(accessRule).default([]).describe("global rules, asked when neither listener nor service has a match"),
  overload: z
    .strictObject({
      diskFreeMiB: loadSteps(2_048, 1_024, 256).describe("free space on the queue's disk, each lower than the last"),
      memoryMiB: loadSteps(1_024, 1_536, 2_048).describe("resident memory of one worker"),
      loopDelayMs: loadSteps(250, 1_000, 5_000).describe("99th percentile of the event loop's delay"),
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
      destinations: z
        .array(
          z.strictObject({
            match: z.string().min(1).describe("name as `postern queue destinations` shows it, * for any characters"),
            concurrency: z.number().int().min(1).max(10_000).optional().describe("deliveries at a time"),
            perSecond: z.number().positive().max(100_000).optional().describe("deliveries begun a second"),
          }),
        )
        .default([])
        .describe("limits of single destinations for each worker; the first match holds"),
    })
    .prefault({}),
  scanners: z.array(scanner).default([]),
  dnsLists: z
    .strictObject({
      zones: z
        .array(
          z.strictObject({
            zone: domainName,
            weight: z.number().int().default(1).describe("added to the score when listed; negative for an allow list"),
            codes: z
              .array(
                z
                  .string()
                  .regex(/^127(\.\d{1,3}){3}(\/\d{1,2})?$/, 'write an answer such as "127.0.0.2" or "127.0.0.0/28"'),
              )
              .default([])
              .describe("answers that count; empty = any"),
          }),
        )
        .default([])
        .describe("lists of client addresses that checkDNSLists asks, all at once"),
      skip: z.array(z.string()).default([]).describe("networks that are not asked about"),
      uriZones: z.array(domainName).default([]).describe("lists of domains that checkURILists asks"),
    })
    .prefault({}),
  policyServices: z
    .array(
      z.strictObject({
        name: z.string().min(1).max(64),
        address: socketAddress,
        timeout: duration("10s"),
        onError: z.enum(["accept", "tempfail"]).default("accept").describe("what a failure of this service means"),
      }),
    )
    .default([])
    .describe("Postfix policy delegation services, asked in order at each RCPT of a client that is not trusted"),
  authentication: z
    .strictObject({
      results: z
        .boolean()
        .default(false)
        .describe("check SPF, DKIM, ARC and DMARC of all mail of strangers and write Authentication-Results"),
      reports: z
        .strictObject({
          contact: z.string().min(1).describe("address of the people who can answer questions, and their sender"),
          every: duration("1d"),
        })
        .nullable()
        .default(null)
        .describe("sends DMARC aggregate reports to domains that ask for them (RFC 9990)"),
      domainKeys: z.boolean().default(false).describe("let checkDomainKey verify historic signatures (RFC 4870)"),
    })
    .prefault({}),
  dkim: z
    .array(signatureKey)
    .default([])
    .describe("keys that sign mail of authenticated senders and trusted networks; several keys a domain all sign"),
  arc: signatureKey
    .omit({ domain: true })
    .extend({ domain: domainName.describe("the sealer's domain") })
    .nullable()
    .default(null)
    .describe("seals mail of others that is passed on (RFC 8617)"),
  greylist: z
    .strictObject({
      enabled: z.boolean().default(false),
      delay: duration("1s"),
      window: duration("10m"),
      lifetime: duration("36d"),
      autoWhitelist: z.number().int().min(0).default(5),
      skip: z.array(z.string()).default([]).describe("networks of clients that never wait"),
      skipSpfPass: z.boolean().default(false).describe("mail that SPF passes does not wait"),
    })
    .prefault({}),
  geoip: z
    .strictObject({
      database: filePath.nullable().default(null).describe("MMDB or CSV file of countries; null = the embedded one"),
      asn: filePath.nullable().default(null).describe("MMDB file of autonomous systems, for GeoIPASN"),
    })
    .prefault({}),
  dns: z
    .strictObject({
      servers: z.array(z.string()).default([]).describe('"127.0.0.1:53"; empty = those of /etc/resolv.conf'),
      timeout: duration("5s"),
    })
    .prefault({}),
  managesieve: z
    .strictObject({
      address: listenAddress,
      tls: z
        .strictObject({ cert: filePath, key: filePath })
        .nullable()
        .default(null)
        .describe("certificate for STARTTLS; passwords are taken over TLS only"),
      plainTextAuth: z.boolean().default(false).describe("take passwords without TLS; keep this off"),
      scripts: z.number().int().min(1).max(10_000).default(32).describe("scripts of one account"),
      scriptBytes: z.number().int().min(1).max(1_048_576).default(65_536).describe("octets of one script"),
      connections: z.number().int().min(1).max(10_000).default(100).describe("at a time for each worker"),
      globalScripts: filePath
        .nullable()
        .default(null)
        .describe("folder of scripts (*.sieve) that accounts may include as :global; read with the policy"),
    })
    .nullable()
    .default(null)
    .describe("lets accounts keep Sieve scripts of their own (RFC 5804)"),
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
  record: z
    .strictObject({
      enabled: z.boolean().default(false).describe("keep each decision with its facts, under <data>/records"),
      maxMiB: z.number().min(1).max(1_048_576).default(256).describe("size of all record files; the oldest go"),
      headers: z.enum(["none", "hash", "full"]).default("none").describe("what is kept of header sections"),
      redact: z
        .array(z.string().min(1))
        .default([])
        .describe('variables to hide, such as mailFrom, and header fields, such as "header:subject"'),
      idsInReplies: z.boolean().default(false).describe("tell clients the decision id"),
    })
    .prefault({}),
  limits: z.strictObject(limitFields).prefault({}),
  workers: z.number().int().min(1).max(256).default(2),
});

export type Config = z.output<typeof configSchema>;
export type ListenerConfig = Config["listeners"][number];
export type ScannerConfig = Config["scanners"][number];
export type SmartHostConfig = z.output<typeof smartHost>;
