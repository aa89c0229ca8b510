/** Records for tests. */
import type { DecisionRecord } from "../../../src/workbench/record/types.ts";

export function sampleRecord(over: Partial<DecisionRecord> = {}): DecisionRecord {
  return {
    id: "mwpd044e00002",
    time: 1_795_202_139_614,
    ms: 11,
    policy: "f6a3ed88f1f3298e7ea1e1e64322706d",
    session: "m7e-00000001",
    steps: [
      { event: "onConnect", in: { remoteSmtpIp: "198.51.100.7", isSSLConnection: "no" } },
      { event: "onEhlo", in: { ehloHost: "client.test", isESMTP: "yes" } },
      { event: "onMailFrom", in: { mailFrom: "bob@sender.test" } },
      { event: "onRcptTo", in: { rcptTo: "user@local.test", isLocalRcpt: "yes" } },
    ],
    facts: [
      [
        "checkSPF",
        ["198.51.100.7", "client.test", "bob@sender.test"],
        { SPFResult: "fail", SPFExplanation: "no" },
        3.2,
      ],
    ],
    size: 2_000,
    decision: { verdict: "accept", at: "onDataReceived", code: 250, text: "", by: "engine", recipients: "a" },
    ...over,
  };
}
