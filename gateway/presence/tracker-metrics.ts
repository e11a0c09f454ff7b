// Owns: what is measured of a gateway's presence.

import { Counter, Gauge, Histogram, type Registry } from "#core/runtime/metrics.ts";
import type { PresenceOperation } from "./presence.ts";

export interface TrackerMetrics {
  applied(operations: readonly PresenceOperation[], seconds: number): void;
  failed(): void;
}

interface TrackerSizes {
  readonly held: () => number;
  readonly pending: () => number;
  readonly outstanding: () => number;
}

export function createTrackerMetrics(registry: Registry, sizes: TrackerSizes): TrackerMetrics {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number): void => {
    registry.registerMetric(
      new Gauge({
        name,
        help,
        registers: [],
        collect() {
          this.set(read());
        },
      }),
    );
  };
  gauge("earshot_presence_held", "Subscriptions of this gateway that presence counts.", sizes.held);
  gauge("earshot_presence_pending", "Joins and leaves that the store was not yet told of.", sizes.pending);
  gauge("earshot_presence_changes_outstanding", "Changes on their way to routers.", sizes.outstanding);
  const operations = new Counter({
    name: "earshot_presence_operations_total",
    help: "Joins and leaves that the store applied, by operation (resent: after it came back empty).",
    labelNames: ["operation"],
    registers,
  });
  const batches = new Counter({
    name: "earshot_presence_batches_total",
    help: "Batches of joins and leaves, by outcome.",
    labelNames: ["outcome"],
    registers,
  });
  const seconds = new Histogram({
    name: "earshot_presence_apply_seconds",
    help: "Seconds that the store took for one batch.",
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
    registers,
  });
  return {
    applied(batch, took) {
      for (const { kind, resent } of batch) operations.inc({ operation: resent === true ? "resent" : kind });
      batches.inc({ outcome: "applied" });
      seconds.observe(took);
    },
    failed() {
      batches.inc({ outcome: "failed" });
    },
  };
}
