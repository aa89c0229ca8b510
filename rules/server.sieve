# A server-level filter: what is surely bad is refused, what is probably bad goes to the quarantine.
# Runs for every message before domain and account scripts (docs/reference/sieve.md).
require ["fileinto", "ereject", "virustest", "spamtest", "relational", "comparator-i;ascii-numeric",
         "foreverypart", "mime"];

# Infected for certain (5) is refused while the client waits, so that nobody gets a report about it.
if virustest :value "ge" :comparator "i;ascii-numeric" "5" {
    ereject "The message contains a virus.";
    stop;
}

# Programs as attachments: a person looks at them first.
foreverypart {
    if header :mime :param "filename" :matches "content-disposition" ["*.exe", "*.scr", "*.js", "*.vbs", "*.lnk"] {
        fileinto "Quarantine";
        stop;
    }
}

# 0 means "not tested" (RFC 5235 §2.2); 10 is spam for certain.
if spamtest :value "ge" :comparator "i;ascii-numeric" "9" {
    fileinto "Quarantine";
    stop;
}
