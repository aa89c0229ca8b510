/**
 * Every limit of the gateway by name, in one object that is passed down (DESIGN §8).
 * Invariants: each field has a default here, is settable under `limits:` in postern.yaml, and has a test that crosses
 * it. Failure: code that meets a limit throws or returns `BudgetExceeded` with the field's name; callers turn it into
 * an Outcome or a Diagnostic. Sizes are octets, times milliseconds, unless the name says otherwise.
 */

export const budgetDefaults = {
  // SMTP reception
  commandLine: 4_096,
  authLine: 12_288,
  textLineRead: 65_536,
  textLineWritten: 998,
  headerSection: 256 * 1024,
  headerFields: 1_000,
  messageKiB: 10_240,
  recipients: 1_000,
  receivedHeaders: 30,
  protocolErrors: 20,
  authFailures: 5,
  idleMs: 300_000,
  dataBlockMs: 180_000,
  connections: 200,
  connectionsPerPeer: 20,
  newConnectionsPerPeerPerMinute: 600,
  dataBlockBytes: 1_024,
  messageMs: 3_600_000,
  discardedBytes: 256 * 1024 * 1024,
  refusedRecipients: 10_000,
  junkCommands: 100,
  replyBacklog: 64 * 1024,
  lingerMs: 5_000,
  tlsHandshakeMs: 30_000,
  proxyHeaderMs: 5_000,
  authTarpitMs: 1_000,
  authBanFailures: 20,
  authBanMs: 600_000,
  trackedPeers: 100_000,
  // MIME
  mimeDepth: 64,
  mimeParts: 1_000,
  // policy and Sieve: compile
  scriptBytes: 1024 * 1024,
  nesting: 64,
  rules: 250_000,
  regexBytes: 32 * 1024,
  // policy: compile
  elseBranches: 1_000,
  expansions: 256,
  // policy: prove and diff
  proveCases: 20_000,
  // policy and Sieve: run
  callDepth: 64,
  lookupMs: 10_000,
  statementsPerEvent: 10_000,
  lookupsPerEvent: 100,
  headerEdits: 200,
  addedRecipients: 100,
  variableBytes: 64 * 1024,
  // named lists
  listEntries: 2_000_000,
  listFileBytes: 256 * 1024 * 1024,
  listLineBytes: 4_096,
  listPatterns: 10_000,
  /** Largest message whose parts a policy may look at while the client waits. */
  policyContent: 32 * 1024 * 1024,
  // Sieve
  sieveInstructions: 1_000_000,
  sieveActions: 32,
  sieveRedirects: 4,
  /** Members of a list that one `redirect :list` may reach. */
  sieveListMembers: 100,
  // DNS and sender checks
  dnsAnswerRecords: 500,
  dnsCnameChain: 8,
  dnsTimeoutMs: 5_000,
  dnsCacheEntries: 50_000,
  dnsCacheOctets: 64 * 1024 * 1024,
  dnsQueries: 500,
  spfLookups: 10,
  spfVoidLookups: 2,
  spfRecord: 16_384,
  dkimSignatures: 10,
  dkimKeyBits: 8_192,
  dmarcAuthors: 4,
  uriDomains: 20,
  reportDomains: 10_000,
  reportRows: 10_000,
  // scanners
  scannerReply: 16 * 1024 * 1024,
  scannerTimeoutMs: 60_000,
  scannerLine: 64 * 1024,
  scannerConcurrency: 10,
  milterPacket: 1024 * 1024,
  milterActions: 1_000,
  milterMessageMs: 600_000,
  // processing
  filteredBytes: 32 * 1024 * 1024,
  // queue and store
  queueBodyInLog: 128 * 1024,
  queueCommitBytes: 4 * 1024 * 1024,
  queueRecordMeta: 16 * 1024 * 1024,
  queueSegmentBytes: 64 * 1024 * 1024,
  queueCacheBytes: 32 * 1024 * 1024,
  /** Octets of memory for bodies that lie ready to be used again, per worker. */
  queueBlockBytes: 16 * 1024 * 1024,
  queueMessages: 4_000_000,
  queueInHand: 10_000,
  queueDeliveries: 500,
  queueProcessing: 50,
  queueDestinations: 20_000,
  queuePerDestination: 100,
  queueListed: 10_000,
  // reports of failures and delays in an hour, for each worker; only those that no logged-in user gets
  reportsPerAddress: 1_000,
  reportsPerDomain: 5_000,
  reportAddresses: 50_000,
  controlRequest: 1024 * 1024,
  controlReply: 64 * 1024 * 1024,
  storeBodyInDatabase: 128 * 1024,
  stateEntries: 2_000_000,
  // outgoing
  replyBytes: 64 * 1024,
  replyLines: 200,
  mxHosts: 20,
  addressesPerHost: 10,
  recipientsPerTransaction: 100,
  convertedBody: 64 * 1024 * 1024,
  userMapLines: 100_000,
  backEndAnswers: 10_000,
  ldapEntries: 10_000,
  addressMapLines: 100_000,
  expandedRecipients: 10_000,
  stsPolicyBytes: 64 * 1024,
  stsFetchMs: 30_000,
  stsPolicies: 10_000,
  tlsReportRows: 10_000,
  bounceText: 64 * 1024,
  bounceRecipients: 1_000,
  // decision records
  recordSteps: 2_000,
  recordFacts: 1_000,
  recordHeader: 64 * 1024,
  recordsPending: 20_000,
  // debugger
  debugSteps: 100_000,
  debugMessageBytes: 16 * 1024 * 1024,
  // language server: records that rules are counted by
  editorRecords: 2_000,
} as const;

export type BudgetField = keyof typeof budgetDefaults;
export type Budget = { readonly [K in BudgetField]: number };

export class BudgetExceeded extends Error {
  readonly field: BudgetField;
  readonly limit: number;
  constructor(field: BudgetField, limit: number, detail = "") {
    super(`limit ${field} (${limit}) exceeded${detail ? `: ${detail}` : ""}`);
    this.name = "BudgetExceeded";
    this.field = field;
    this.limit = limit;
  }
}

/** The default budget with some fields replaced. */
export function budgetWith(overrides: Partial<Record<BudgetField, number>> = {}): Budget {
  return { ...budgetDefaults, ...overrides };
}
