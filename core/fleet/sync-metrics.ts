// Owns: the metrics of what a process knows of its fleet (earshot_sync_*): from whom it knows it, which map is in force and
// acked, how much there is. Read from the client's state.

import { Counter, type Registry, readGauge, readGauges } from "../runtime/metrics.ts";

/** What is read whenever somebody asks. */
export interface SyncGauges {
  /** Live Sync streams by whom they lead to. */
  readonly sources: () => Readonly<Record<"operator" | "router", number>>;
  readonly epoch: () => number;
  readonly ackedEpoch: () => number;
  readonly topics: () => number;
  /** Processes of the fleet by role, as the operator named them last. */
  readonly members: () => Readonly<Record<string, number>>;
  readonly unownedShards: () => number;
}

/** Counts pushes that could not be applied. */
export function syncMetrics(registry: Registry, gauges: SyncGauges): Counter {
  const sources = {
    name: "earshot_sync_sources",
    help: "Live Sync streams, by whom they lead to; routers are asked only until an operator has ever answered.",
    label: "kind",
  };
  readGauges(registry, sources, gauges.sources);
  readGauge(registry, "earshot_sync_epoch", "Epoch of the shard map in force here; 0: none yet.", gauges.epoch);
  const acked = "Last epoch that this process acked; below the one in force, it is not done with what that asks of it.";
  readGauge(registry, "earshot_sync_acked_epoch", acked, gauges.ackedEpoch);
  readGauge(registry, "earshot_sync_topics", "Topics known here.", gauges.topics);
  const members = {
    name: "earshot_sync_members",
    help: "Processes of the fleet by role, as an operator named them last.",
    label: "member_role",
  };
  readGauges(registry, members, gauges.members);
  const unowned = "Shards to which the map in force gives no router.";
  readGauge(registry, "earshot_sync_unowned_shards", unowned, gauges.unownedShards);
  return new Counter({
    name: "earshot_sync_nacks_total",
    help: "Pushes of the control plane that could not be applied.",
    registers: [registry],
  });
}
