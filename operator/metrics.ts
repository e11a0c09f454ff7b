// Owns: the operator's metrics: what happened, by name, and what it holds, read when somebody asks. No label carries a Topic
// or a process: processes are counted by role, since the incarnations of a year of restarts would be as many series.

import type { ShardMap } from "#core/domain/shard-map.ts";
import { Counter, Gauge, type Registry, readCounters, readGauge, readGauges } from "#core/runtime/metrics.ts";
import type { Processes, ProcessRole, ProcessState } from "./control-plane/processes.ts";
import { FILES_MAX } from "./stores/watched-folder.ts";

const EVENTS = [
  "shard_map_published",
  "shard_map_conflict",
  "shard_map_not_stored",
  "router_removal_held_back",
  "router_cut_off",
  "push_refused",
  "stream_silent",
  "stream_refused",
  "topic_created",
  "topic_updated",
  "topic_deleted",
  "topic_change_refused",
  "topic_hot",
  "manifest_rejected",
  "folder_unreadable",
  "state_not_stored",
] as const;

export type OperatorEvent = (typeof EVENTS)[number];

export class OperatorMetrics {
  readonly gaveUp: Counter;
  readonly rejectedManifests: Gauge;
  readonly hotTopics: Gauge;
  readonly #events = Object.fromEntries(EVENTS.map((event) => [event, 0])) as Record<OperatorEvent, number>;

  constructor(registry: Registry) {
    const registers = [registry];
    this.gaveUp = new Counter({
      name: "earshot_operator_give_ups_total",
      help: "Times that a plan went on without a gateway that had not acked a map in time.",
      registers,
    });
    this.rejectedManifests = new Gauge({
      name: "earshot_operator_rejected_manifests",
      help: "Manifests that are wrong now; the last good ones stay in force.",
      registers,
    });
    this.hotTopics = new Gauge({ name: "earshot_operator_hot_topics", help: "Topics that are Hot now.", registers });
    const events = { name: "earshot_operator_events_total", help: "What happened, by name.", label: "event" };
    readCounters(registry, events, () => this.#events);
  }

  event(event: OperatorEvent): void {
    this.#events[event] += 1;
  }
}

interface OperatorState {
  /** The map in force. */
  readonly map: () => ShardMap | undefined;
  readonly processes: Pick<Processes, "all">;
  readonly topics: () => number;
  readonly undecidedTopics: () => number;
  readonly notReadyTopics: () => number;
  readonly sizes: () => { readonly files: number; readonly httpTopics: number };
  /** Sync streams of a role. */
  readonly streams: (role: ProcessRole) => number;
}

/** Counts what others hold. */
export function registerOperatorState(registry: Registry, state: OperatorState): void {
  registerMap(registry, state.map);
  registerProcesses(registry, state);
  readGauge(registry, "earshot_operator_topics", "Topics in force.", state.topics);
  const undecided = "Topics of which it is not decided yet whether every process has their newest generation.";
  readGauge(registry, "earshot_operator_undecided_topics", undecided, state.undecidedTopics);
  const notReady =
    "Topics that are not Ready, as the operator that leads sees it: they wait for processes, or are wrong.";
  readGauge(registry, "earshot_operator_not_ready_topics", notReady, state.notReadyTopics);
  const files = `Manifest files that are read, ${FILES_MAX} at most; those beyond are told and left out.`;
  readGauge(registry, "earshot_operator_manifest_files", files, () => state.sizes().files);
  const made = "Topics made over HTTP or gRPC; at the setting httpTopicsMax one more is told quota_exceeded.";
  readGauge(registry, "earshot_operator_http_topics", made, () => state.sizes().httpTopics);
}

function registerMap(registry: Registry, map: OperatorState["map"]): void {
  const epoch = "Epoch of the stored shard map; 0: none yet.";
  readGauge(registry, "earshot_operator_epoch", epoch, () => map()?.epoch ?? 0);
  const routers = "Routers of the shard map in force.";
  readGauge(registry, "earshot_operator_mapped_routers", routers, () => map()?.routers.length ?? 0);
  const shards = {
    name: "earshot_operator_shards",
    help: "Shards of the map in force by how many routers their lists have: 0 is out of order, 1 has no standby, 2 is whole, 3 is moving.",
    label: "owners",
  };
  readGauges(registry, shards, () => {
    const counts: Record<string, number> = { 0: 0, 1: 0, 2: 0, 3: 0 };
    for (const { length } of map()?.shards ?? []) counts[Math.min(length, 3)] = (counts[Math.min(length, 3)] ?? 0) + 1;
    return counts;
  });
}

function registerProcesses(registry: Registry, { map, processes, streams }: OperatorState): void {
  const byRole = (name: string, help: string, counts: (state: ProcessState) => boolean): void => {
    readGauges(registry, { name: `earshot_operator_${name}`, help, label: "process_role" }, () => {
      const count = { router: 0, gateway: 0, presence: 0 };
      for (const state of processes.all()) if (counts(state)) count[state.role] += 1;
      return count;
    });
  };
  const known = "Processes known, connected or gone a moment ago, by role.";
  byRole("processes", known, () => true);
  byRole("processes_connected", "Processes with a Sync stream, by role.", ({ connected }) => connected);
  byRole("processes_ready", "Connected processes that say that they are ready, by role.", (one) => {
    return one.connected && one.ready;
  });
  byRole("processes_draining", "Connected processes that are leaving, by role.", (one) => {
    return one.connected && one.draining;
  });
  byRole("processes_behind", "Connected processes that have not acked the map in force, by role.", (one) => {
    return one.connected && one.role !== "presence" && one.ackedEpoch < (map()?.epoch ?? 0);
  });
  const open = { name: "earshot_operator_sync_streams", help: "Sync streams by role.", label: "process_role" };
  readGauges(registry, open, () => ({
    router: streams("router"),
    gateway: streams("gateway"),
    presence: streams("presence"),
  }));
  const dead = {
    name: "earshot_operator_reported_links",
    help: "Links between gateways and routers as connected gateways reported them last, by state.",
    label: "state",
  };
  readGauges(registry, dead, () => {
    const count = { alive: 0, dead: 0 };
    for (const { connected, links } of processes.all()) {
      if (connected) for (const { alive } of links.values()) count[alive ? "alive" : "dead"] += 1;
    }
    return count;
  });
}
