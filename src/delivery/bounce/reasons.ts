/**
 * Why a host refused: rules as data, tried in order on the reply's text, and the meaning of enhanced status codes
 * (RFC 3463, RFC 5248 registry) for texts that no rule knows.
 * Invariants: patterns hold no nested quantifiers and look at most at `maxText` characters, so a hostile text costs
 * little. The first rule that matches decides: what is said of our address or of the sender comes before what is said
 * of the recipient, because such texts often name the recipient, too.
 */

export type Reason =
  | "user-unknown"
  | "has-moved"
  | "host-unknown"
  | "no-mail-accepted"
  | "mailbox-full"
  | "suspended"
  | "filtered"
  | "rejected-sender"
  | "blocked"
  | "greylisted"
  | "spam"
  | "virus"
  | "authentication"
  | "reverse-dns"
  | "relaying"
  | "too-big"
  | "too-many-connections"
  | "rate-limited"
  | "policy"
  | "security"
  | "content"
  | "syntax"
  | "system"
  | "mailer"
  | "network"
  | "expired"
  | "delivered"
  | "undefined";

/** Reasons that lie in the address: another try will not help, so it belongs off the list ("hard"). */
const hardReasons: ReadonlySet<Reason> = new Set(["user-unknown", "has-moved", "host-unknown", "no-mail-accepted"]);

/** True when the address itself is dead. A host that takes no mail is so only by a permanent code. */
export function isHard(reason: Reason, status: string): boolean {
  return hardReasons.has(reason) && !(reason === "no-mail-accepted" && status.startsWith("4"));
}

/** Longest text a rule is tried on, characters. */
export const maxText = 2_048;

interface Rule {
  reason: Reason;
  patterns: readonly RegExp[];
}

/**
 * RFC 5321 §4.2.3: the words of 550 itself, "mailbox not found, no access, or command rejected for policy reasons", name
 * no cause. (Outlook.com puts a code of its own behind them, and means an unknown user.)
 */
const unavailable = /requested action not taken: mailbox unavailable(?! \(S\d)/i;

export const textRules: readonly Rule[] = [
  // Forms of single providers whose words would mislead the general rules below.
  { reason: "user-unknown", patterns: [/recipient address rejected: access denied|account or domain may not exist/i] },
  {
    reason: "rejected-sender",
    patterns: [/groups\.google\.com|invalid dns mx/i, /(?:email address|identit\w+)(?: is| are)? not verified/i],
  },
  { reason: "policy", patterns: [/anti-?spoof/i] },
  { reason: "mailer", patterns: [/\b(?:procmail|maildrop): /i] },
  { reason: "network", patterns: [/best-preference mx|lowest[ -]numbered mx/i] },
  { reason: "spam", patterns: [/uribl\.com|\bdt:spm\b/i] },
  { reason: "blocked", patterns: [/\((?:rtr|con|dyn):\w{2}\)/i] },
  {
    reason: "virus",
    patterns: [/\bvirus|malware|trojan|\binfected\b|phishing/i],
  },
  {
    reason: "authentication",
    patterns: [
      /dmarc|\bdkim\b.{0,60}(?:fail|invalid|not|did)|\bspf\b|sender policy framework|unauthenticated e?mail/i,
      /(?:e?mail|message|sender).{0,40}(?:not pass|failed|lacks?).{0,30}(?:authentication|verification) (?:check|requirement|result)/i,
    ],
  },
  {
    reason: "reverse-dns",
    patterns: [
      /\bptr\b|reverse[ -]?(?:dns|hostname|lookup)|\br-?dns\b|fcrdns|client host.{0,20}cannot find your/i,
      /cannot (?:find|resolve) your (?:hostname|reverse|ip|address)|no (?:host ?name|dns) .{0,20}for your ip|your (?:server|ip).{0,40}(?:not resolve|has no name)/i,
    ],
  },
  {
    reason: "greylisted",
    patterns: [
      /gr[ea]y[ -]?list|try again in \d+ ?(?:s|sec|min)|temporarily deferred.{0,20}unknown|please try (?:again )?later.{0,30}first/i,
    ],
  },
  {
    reason: "too-many-connections",
    patterns: [
      /too many (?:\w+ ){0,2}(?:connection|session)|concurren\w+ (?:limit|connection)|connection limit|trop de connexions/i,
    ],
  },
  {
    reason: "rate-limited",
    patterns: [
      /too many (?:message|mail|e-?mail|recipient|invalid recipient|error|login|bad)/i,
      /rate[ -]?limit|throttl|slow down|connection (?:rate|frequency)/i,
      /(?:exceed|reach|over)\w* .{0,40}(?:messages? (?:per|rate)|mail rate|sending (?:limit|quota|rate)|connection|hourly|daily|per (?:hour|day|minute)|frequency)/i,
      /(?:limit|quota) on (?:the number of )?(?:messages|recipients|connections)|sending (?:limit|too (?:fast|many|much))|unusual rate|(?:daily|hourly) (?:limit|quota|sending)|frequency limit/i,
    ],
  },
  {
    reason: "mailbox-full",
    patterns: [
      /(?:mailbox|mail ?box|mailfolder|maildir|inbox|account|user|recipient|quota|storage|folder).{0,40}\b(?:is |are |was )?(?:almost |too )?(?:full|over[ -]?quota|exceeded|exhausted|out of (?:space|storage))/i,
      /over[ -]?(?:the )?(?:disk |mail |storage |allowed )?quota|(?:disk|mail|storage|user'?s?|mailbox|size) quota|quota (?:exceed|violat|full|reached)|exceed\w*.{0,30}(?:quota|storage|mailbox size)/i,
      /\b(?:insufficient|not enough|no|out of)\b.{0,20}(?:disk|storage|mailbox|space)(?: space)?.{0,30}(?:recipient|user|mailbox|account|available)|out of (?:disk )?space|too (?:much|many) (?:mail|messages) (?:in|on|data)/i,
      /mailbox (?:size )?(?:limit|is at capacity)|overdrawn|does not have enough (?:space|storage)|allocated storage/i,
      /postfach.{0,20}\bvoll|bo[iî]te.{0,40}(?:pleine|satur)|quota d[eé]pass|buz[oó]n.{0,30}llen[oa]|casella.{0,30}piena|caixa.{0,30}cheia|postbus.{0,20}\bvol\b|容量.{0,10}(?:超|不足)|満杯|いっぱいです|(?:邮箱|信箱).{0,5}(?:满|滿)|переполнен/i,
    ],
  },
  {
    reason: "blocked",
    patterns: [
      /black ?list|block[ -]?list|\brbl\b|\bdnsbl\b|spamhaus|spamcop|\bsorbs\b|barracudanetworks|\bsurbl\b|senderbase|invaluement|hostkarma|spamrl|drbl|uceprotect|cloudmark|proofpoint\.com\/\?ip/i,
      /(?:blocked|listed|rejected|refused|banned) (?:using|at|by|in|on|via|due to).{0,60}(?:\blist|rbl|dnsbl|bl\.|\.org|\.net|\.com|reputation)|\bip\b.{0,50}(?:listed|blocked|banned|denied|rejected|blacklist|spammer|refused)|banned sending ip/i,
      /(?:bad|poor|low|reputation).{0,20}(?:reputation|ip\b)|reputation (?:of|score|is|filter|too)|your (?:ip|host|server|network|mail server|isp|access).{0,60}(?:block|ban|reject|denied|deny|refus|not allowed|spam)/i,
      /(?:messages?|mail|connections?|traffic) from (?:your |this )?(?:\[?\d|ip|host|server|network|isp).{0,60}(?:block|reject|ban|refus|denied|weren't sent|not accept|temporarily deferred)|smtp server of your isp|isp'?s? (?:smtp|mail) server/i,
      /(?<!relay )access denied|(?:client|connect\w*|host|server|ip)(?: address| host)?.{0,40}(?:block|ban)|connection (?:dropped|refused) (?:due|by policy)|go away|dynamic (?:ip|address)|dial-?up|dul\b|residential|helo.{0,30}(?:reject|invalid|command)|not (?:authorized|allowed) to (?:connect|send .{0,20}from (?:this|your) (?:ip|host|server))|symantec zodiac|:blocked\)|we do not accept mail from (?:hosts|this|dynamic)|cannot send e-?mail to yourself/i,
    ],
  },
  {
    reason: "relaying",
    patterns: [
      /relay(?:ing)?.{0,30}(?:denied|not (?:permitted|allowed|authori[sz]ed|support)|prohibited|disallow|refused|forbidden|reject|is closed|attempt)|(?:no|not|insecure|unauthori[sz]ed|open|mail) relay(?:ing)?\b|unable to relay/i,
      /(?:allowed|list of) rcpthosts|not (?:a )?(?:gateway|local (?:domain|host))|relay not|cannot relay|relaying$|not permitted to relay|use.{0,20}smtp.?auth|domain (?:is )?not (?:hosted|handled|local|served) here|not (?:serve|host|handle) .{0,20}domain/i,
    ],
  },
  {
    reason: "spam",
    patterns: [
      /\bspam\b|spam(?:my|ming|assassin|content)|\bjunk|\bbulk\b|unsolicited|\bu[bc]e\b|looks like (?:a )?(?:spam|bulk)|blacklisted (?:url|content)|uribl|advertis(?:ing|ement)|content (?:filter|reject|was (?:block|reject))|high[ -]probability|message (?:score|classified)/i,
    ],
  },
  {
    reason: "too-big",
    patterns: [
      /(?:message|mail|e-?mail|body|header|attachment|content|line|file)s?.{0,40}(?:too (?:big|large|long)|(?:size|length|line).{0,20}(?:limit|exceed|maximum)|limit exceeded|exceed\w*.{0,40}(?:size|limit|length|maximum|bytes))|exceed\w*.{0,30}(?:message|mail) size|larger than|oversize|size limit/i,
    ],
  },
  {
    reason: "rejected-sender",
    patterns: [
      /(?:sender|return[ -]path|mail from|from(?= ?(?:address|header|domain|user|field|:|<)))[ :'"]{0,3}(?:e?-?mail )?(?:address|domain|user|verif\w+|header|<[^>]*>)?.{0,80}(?:reject|invalid|not exist|n't exist|unknown|not (?:found|valid|accepted|allowed|resolv|verified|permitted|listed)|denied|refus|fail|bad|unresolv|unroutable|malformed|must|block|is not)/i,
      /(?:domain|address) of (?:the )?sender|(?:invalid|unknown|unverified|bad|unresolvable|illegal|unroutable) (?:sender|return|from|originat)|not (?:a )?member|not subscribed|not (?:allowed|authorized|permitted) to (?:post|send)|members? only|moderat(?:ed|or)|bad sender|must have a valid/i,
      /sender (?:domain |address )?(?:reject|denied|block|not|un|bad|invalid)|verify (?:the )?sender|rejecting .{0,30}sender|does not (?:like|accept) (?:the )?(?:sender|from)/i,
    ],
  },
  {
    reason: "has-moved",
    patterns: [
      /(?:user|address|recipient|mailbox|account|domain).{0,30}(?:has |have )?(?:moved|changed|been (?:replaced|renamed))|no longer (?:at|on|with|using) |new (?:e-?mail )?address (?:is|:)|please (?:try|use) <|moved to|address (?:change|obsolete)/i,
    ],
  },
  {
    reason: "suspended",
    patterns: [
      /(?:account|mailbox|user|recipient|address|alias|domain|mail ?box).{0,60}(?:disabled|suspend|inactiv|not active|deactivat|locked|frozen|discontinued|blocked|closed|terminated|expired|on hold|not enabled|restricted|not currently accepting)|(?:disabled|inactive|suspended|deactivated|expired|locked|frozen) (?:user|account|mailbox|recipient|address|domain)|temporarily inactive/i,
    ],
  },
  {
    reason: "filtered",
    patterns: [
      /domain[ -]filter|user (?:has )?(?:reject|refus|block|filter)|rejected by (?:the )?(?:user|recipient'?s? (?:filter|setting))|recipient (?:has )?(?:refus|block|reject|reject)|not accept(?:ing)? (?:messages|mail) from (?:you|this sender|external)|reject(?:ed)? by header|refused by the recipient|does not accept mail from|report abuse/i,
    ],
  },
  {
    reason: "expired",
    patterns: [
      /(?:retry|delivery|queue|message|mail).{0,30}(?:time ?out|expired|time exceeded|time limit|too old|lifetime)|time(?:d)?[ -]?out|delivery (?:time|expired)|giving up\b(?! on)|(?:could not|unable to|not|undeliver\w+).{0,40}(?:for|in|within|after)(?: the last)? \d+ ?(?:seconds?|minutes?|hours?|days?|h\b|d\b)|failing for a long time|not accept our requests|been in the queue|will keep trying|will be retried|no longer (?:be )?retr|delayed|connection (?:timed|expired)|too long|not responding|unable to contact/i,
    ],
  },
  {
    reason: "network",
    patterns: [
      /dns (?:error|fail|look-?up fail|server)|(?:name service|name server) error(?!.{0,300}host not found(?!,? try again))|host not found,? try again|temporary (?:lookup|resolution)/i,
    ],
  },
  {
    reason: "host-unknown",
    patterns: [
      /(?:host|domain|server)(?: or domain name| name| or domain)?.{0,60}(?:not (?:found|exist|known|valid|resolv)|n't exist|unknown|does not exist|no such|lookup fail|not reachable)(?!.{0,20}try again)/i,
      /(?:unknown|no such|invalid|bad|non-?existent|illegal) (?:host|domain|destination (?:system|host))|unrout(?:e)?able|nxdomain|name or service not known|no (?:mx|a) (?:record|host|found)|no mail exchanger|(?:^| )[\w-]+\.[\w.-]+ (?:does not|doesn't) exist|account or domain may not exist|domain (?:is )?(?:invalid|unresolvable)|null mx lookup|hostname nor servname|wasn't found|recipient's domain/i,
    ],
  },
  {
    reason: "no-mail-accepted",
    patterns: [
      /null ?mx|(?:does not|doesn't|not) accept (?:any |e-?)?mail|no (?:mail|smtp) service|mail (?:is )?not accepted|(?:host|domain|server) .{0,30}never accepts|recipient address has a null|doesn't (?:receive|handle) (?:any )?mail|smtp service not|nullmx/i,
    ],
  },
  { reason: "filtered", patterns: [unavailable] },
  {
    reason: "user-unknown",
    patterns: [
      /(?:user|recipient|mailbox|account|address|addressee|alias|person|local[ -]?part|member|subscriber|box|id|customer|employee|name)(?: name| address| account)?.{0,80}(?:unknown|not (?:found|exist|known|listed|recogni[sz]ed|valid|available|registered|a (?:valid|known)|locat|local|here|in|able)|n't (?:exist|found|have|be found|available|a valid)|does ?n[o']t have|no longer|invalid|unavailable|cannot be found|disallowed|doesn't)/i,
      /(?:no|unknown|invalid|bad|illegal|wrong|non-?existent|unrecogni[sz]ed|undeliverable|not a valid|unable to find|no valid|n't find|couldn't find)(?: or \w+)? (?:such )?(?:e-?mail )?(?:a )?(?:user|recipient|mailbox|account|address|addressee|alias|person|local|final delivery|destination mailbox|member|forward|receiver|rcpt|one)/i,
      /no such (?:\w+ ){0,2}(?:here|user|address|mailbox|recipient|person|account|name|alias)|no mailbox|not our customer|there is no one|have a \S+ account|user'?s? (?:unknown|not)|user ?unknown|unknown (?:to|or illegal|local|in)|isn't (?:a|in|known)|recipnotfound|delivery to (?:this|the).{0,20}(?:address|user) (?:is )?not|mail(?:box)? (?:does not|not|unavailable|for .{0,40}not)|couldn't be found|not (?:match|know)|cannot deliver to this|inconnu|unbekannt|desconocid|sconosciut|no existe|n'existe|existiert nicht/i,
      /nicht (?:gefunden|bekannt)|introuvable|inexist|no encontrad|non esiste|não existe|desconhecid|onbeken|bestaat niet|nie istnieje|nieznany|neexistuje|finns inte|okänd|не найден|не существует|неизвестн|(?:見つか|みつか|存在し)(?:り?ません)|宛先不明|不存在|无此用户|查無/i,
    ],
  },
  {
    reason: "network",
    patterns: [
      /connection (?:refused|reset|closed|dropped|lost|was|fail)|(?:network|host|server).{0,20}unreachable|no route (?:to host|found)|lost connection|socket error|mail loop|\bloop(?:s|ing|ed)?\b|too many hops|hop count|dns (?:error|fail|look-?up|server)|name (?:service|server) (?:error|fail)|(?:could not|unable to|cannot|can't|failed to) connect|broken pipe|bad connection|no answer|temporary (?:lookup|resolution)|not be contacted|routing loop|resolv(?:ing|e)|name server/i,
    ],
  },
  {
    reason: "security",
    patterns: [
      /\btls\b|\bssl\b|encrypt|starttls|authentication (?:required|fail|credentials)|not authenticated|password|credential|unsupported mail attachment|executable|illegal attachment|security|restricted group|not authorized|illegal/i,
    ],
  },
  {
    reason: "content",
    patterns: [
      /content|attachment|mime|html|subject|8[- ]?bit|body|from header|duplicate|charset|encoding|message is not|rfc ?\d{3,4}|bare (?:lf|cr|line)|conversion/i,
    ],
  },
  {
    reason: "policy",
    patterns: [
      /polic(?:y|ies)|anti-?spoof|prohibited|not permitted|not allowed|administrative|administratively|header error|bad header|domain isn't allowed/i,
    ],
  },
  {
    reason: "mailer",
    patterns: [
      /mailer (?:error|has exited|exited)|pipe to|command (?:died|time|output|fail)|procmail|maildrop|exit (?:code|status)|local (?:delivery|mailer|error)|can't create (?:output|user)|transport|\|\//i,
    ],
  },
  {
    reason: "syntax",
    patterns: [
      /syntax|unrecognized|bad sequence|command (?:not|unrecog)|bad command|malformed|protocol error|unexpected|parameter|need (?:mail|rcpt)/i,
    ],
  },
  { reason: "user-unknown", patterns: [/(?:recipient|address|user)\b(?: address)?:? ?(?:was |is |has been )?reject/i] },
  {
    reason: "system",
    patterns: [
      /(?:system|server|internal|local|configuration|temporary|disk|i\/o|resource|aliasing|database|ldap|mysql|queue|file).{0,30}(?:error|problem|fail|full|unavailable|trouble|busy|down|not available|shutting|maintenance)|service (?:temporarily )?(?:not available|unavailable)|out of memory|insufficient (?:system|resource)|cannot (?:open|create|write|append)|overload|error in processing|internal/i,
    ],
  },
];

/** By enhanced status code, with the class digit left out; the longest known prefix counts. */
const statusReasons: Readonly<Record<string, Reason>> = {
  "1.0": "user-unknown",
  "1.1": "user-unknown",
  "1.2": "host-unknown",
  "1.3": "user-unknown",
  "1.4": "user-unknown",
  "1.6": "has-moved",
  "1.7": "rejected-sender",
  "1.8": "rejected-sender",
  "1.9": "rejected-sender",
  "1.10": "no-mail-accepted",
  "2.0": "filtered",
  "2.1": "suspended",
  "2.2": "mailbox-full",
  "2.3": "too-big",
  "2.4": "filtered",
  "3.1": "system",
  "3.2": "no-mail-accepted",
  "3.3": "system",
  "3.4": "too-big",
  "3.5": "system",
  "4.1": "expired",
  "4.2": "network",
  "4.3": "network",
  "4.4": "host-unknown",
  "4.5": "rate-limited",
  "4.6": "network",
  "4.7": "expired",
  "5.0": "syntax",
  "5.1": "syntax",
  "5.2": "syntax",
  "5.3": "rate-limited",
  "5.4": "syntax",
  "6.0": "content",
  "6.1": "content",
  "6.3": "content",
  "6.6": "content",
  "6.7": "syntax",
  "7.0": "policy",
  "7.1": "blocked",
  "7.2": "policy",
  "7.8": "security",
  "7.10": "security",
  "7.13": "suspended",
  "7.17": "filtered",
  "7.20": "authentication",
  "7.21": "authentication",
  "7.22": "authentication",
  "7.23": "authentication",
  "7.24": "authentication",
  "7.25": "reverse-dns",
  "7.26": "authentication",
  "7.27": "no-mail-accepted",
  "7.28": "rate-limited",
  "7.30": "security",
};

/** By SMTP reply code, when there is nothing better. */
const codeReasons: Readonly<Record<number, Reason>> = {
  421: "network",
  450: "greylisted",
  452: "mailbox-full",
  501: "syntax",
  502: "syntax",
  503: "syntax",
  521: "no-mail-accepted",
  525: "suspended",
  552: "mailbox-full",
  556: "no-mail-accepted",
};

/** Statuses that name the cause so plainly that the text beside them need not be asked, class digit left out. */
const plainStatus = /^[45]\.(?:1\.[678]|2\.2|3\.4|7\.(?:2[0-6]|509|515))$/;

/** Words that mailers put before the cause ("Recipient address rejected: …"). */
const prefix = /(?:recipient|sender|client host|helo command|data command)(?: address)? rejected: (?!access denied)/gi;

/** Addresses in a text are no words: "server-does-not-exist@example.org" says nothing of a server. */
const mailbox = /[^\s<>@"'();:,]{1,128}@[^\s<>@"'();:,]{1,253}/g;

/** What a text says, or undefined when no rule knows it. */
export function reasonOfText(text: string): Reason | undefined {
  const bounded = (text.length > maxText ? text.slice(0, maxText) : text).replace(prefix, "").replace(mailbox, "@");
  return textRules.find((rule) => rule.patterns.some((pattern) => pattern.test(bounded)))?.reason;
}

/** What a status ("5.1.1") or reply code says, or undefined. */
export function reasonOfCode(status: string, replyCode: number): Reason | undefined {
  if (status.startsWith("2")) return "delivered";
  if (/^[45]\.7\.5\d\d$/.test(status)) return "authentication";
  return statusReasons[status.slice(2)] ?? codeReasons[replyCode];
}

/** What a host's reply says by its plain status, its text, its codes, in this order. */
export function reasonOfReply(text: string, status: string, replyCode: number): Reason | undefined {
  const plain = plainStatus.test(status) ? reasonOfCode(status, 0) : undefined;
  if (plain !== undefined) return plain;
  if (/^[45]\.1\.1$/.test(status) && unavailable.test(text)) return "user-unknown";
  return reasonOfText(text) ?? reasonOfCode(status, replyCode);
}
