/**
 * Counters and gauges of one process, and their sum over processes as Prometheus text.
 * Invariants: the set of names is fixed in `metricHelp`, labels are few and never come from the network.
 * Failure: none; an unknown name does not type-check.
 */

const metricHelp = {
  postern_connections_total: "SMTP connections accepted",
  postern_sessions: "SMTP sessions open",
  postern_messages_received_total: "Messages accepted with a 250 after they were durable",
  postern_messages_refused_total: "Messages refused at the end of data",
  postern_recipients_delivered_total: "Recipients delivered to the store",
  postern_recipients_relayed_total: "Recipients relayed to another server",
  postern_recipients_deferred_total: "Delivery attempts that will be repeated",
  postern_recipients_failed_total: "Recipients given up",
  postern_queue_messages: "Messages in the queue",
  postern_policy_reloads_total: "Policy programs swapped in",
  postern_event_loop_lag_ms: "99th percentile of event-loop delay over the last interval, ms; largest of all processes",
  postern_overload_level: "Overload step in force, 0 = none; largest of all processes",
} as const;

export type MetricName = keyof typeof metricHelp;
export type MetricValues = Partial<Record<MetricName, number>>;

/** Metrics of which the largest value counts, not the sum. */
const largest: ReadonlySet<string> = new Set(["postern_event_loop_lag_ms", "postern_overload_level"]);

export class Metrics {
  readonly values: MetricValues = {};

  add(name: MetricName, amount = 1): void {
    this.values[name] = (this.values[name] ?? 0) + amount;
  }

  set(name: MetricName, value: number): void {
    this.values[name] = value;
  }
}

/** Prometheus text exposition format 0.0.4 of the values of several processes together. */
export function exposition(processes: readonly MetricValues[]): string {
  let text = "";
  for (const [name, help] of Object.entries(metricHelp) as Array<[MetricName, string]>) {
    const values = processes.map((values) => values[name] ?? 0);
    const value = largest.has(name) ? Math.max(0, ...values) : values.reduce((sum, one) => sum + one, 0);
    text += `# HELP ${name} ${help}\n# TYPE ${name} ${name.endsWith("_total") ? "counter" : "gauge"}\n${name} ${value}\n`;
  }
  return text;
}
