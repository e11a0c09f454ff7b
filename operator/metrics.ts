// Owns: the operator's metrics. Events are counted by name; no label carries a Topic.

import { Counter, Gauge, type Registry } from "#core/runtime/metrics.ts";

export type OperatorEvent =
  | "shard_map_published"
  | "shard_map_conflict"
  | "shard_map_not_stored"
  | "router_removal_held_back"
  | "router_cut_off"
  | "push_refused"
  | "stream_silent"
  | "stream_refused"
  | "topic_created"
  | "topic_updated"
  | "topic_deleted"
  | "topic_change_refused"
  | "topic_hot"
  | "manifest_rejected"
  | "folder_unreadable"
  | "state_not_stored";

export class OperatorMetrics {
  readonly epoch: Gauge;
  readonly mappedRouters: Gauge;
  readonly gaveUp: Counter;
  readonly rejectedManifests: Gauge;
  readonly hotTopics: Gauge;
  readonly #events: Counter<"event">;

  constructor(registry: Registry) {
    const registers = [registry];
    this.epoch = new Gauge({ name: "earshot_operator_epoch", help: "Epoch of the stored shard map.", registers });
    this.mappedRouters = new Gauge({
      name: "earshot_operator_mapped_routers",
      help: "Routers of the shard map in force.",
      registers,
    });
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
    this.#events = new Counter({
      name: "earshot_operator_events_total",
      help: "What happened, by name.",
      labelNames: ["event"],
      registers,
    });
  }

  event(event: OperatorEvent): void {
    this.#events.inc({ event });
  }
}
