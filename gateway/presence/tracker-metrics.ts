// Owns: what is measured of a gateway's presence.

import { Counter, Histogram, type Registry, readGauge } from "#core/runtime/metrics.ts";
import type { PresenceOperation } from "./presence.ts";

export interface TrackerMetrics {
  applied(operations: readonly PresenceOperation[], seconds: number): void;
  failed(): void;
}

interface TrackerSizes {
  readonly held: () => number;
  readonly pending: () => number;
  readonly outstanding: () => number;
  readonly reachable: () => boolean;
}

export function createTrackerMetrics(registry: Registry, sizes: TrackerSizes): TrackerMetrics {
  const registers = [registry];
  const reachable = "1 while the store answers, else 0: then member lists are stale, and messages go on.";
  readGauge(registry, "earshot_presence_store_reachable", reachable, () => (sizes.reachable() ? 1 : 0));
  readGauge(registry, "earshot_presence_held", "Subscriptions of this gateway that presence counts.", sizes.held);
  const pending = "Joins and leaves that the store was not yet told of.";
  readGauge(registry, "earshot_presence_pending", pending, sizes.pending);
  const outstanding = "Changes on their way to routers.";
  readGauge(registry, "earshot_presence_changes_outstanding", outstanding, sizes.outstanding);
  const operations = new Counter({
    name: "earshot_presence_operations_total",
    help: "Joins and leaves that the store applied, by operation (resent: after it came back empty).",
    labelNames: ["operation"],
    registers,
  });
  for (const operation of ["join", "leave", "resent"]) operations.inc({ operation }, 0);
  const batches = new Counter({
    name: "earshot_presence_batches_total",
    help: "Batches of joins and leaves, by outcome.",
    labelNames: ["outcome"],
    registers,
  });
  for (const outcome of ["applied", "failed"]) batches.inc({ outcome }, 0);
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
