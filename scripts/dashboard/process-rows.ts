// Owns: rows of the dashboard about what carries messages: the control plane, processes, presence.

import { quantile, quantiles, type Row, rate } from "./panel.ts";

export const CONTROL: Row = {
  title: "Control plane",
  panels: [
    {
      title: "Who leads",
      unit: "short",
      queries: [['max by (pod) (leader_election_master_status{@,role="operator"})', "{{pod}}"]],
    },
    {
      title: "Epoch: stored, in force, acked",
      unit: "none",
      description: "All three are one line where all is well.",
      queries: [
        ["max(earshot_operator_epoch{@})", "stored"],
        ["min(earshot_sync_epoch{@})", "in force at the last process"],
        ["min(earshot_sync_acked_epoch{@})", "acked by the last process"],
      ],
    },
    {
      title: "Processes that have not acked the map",
      unit: "short",
      badFrom: 1,
      queries: [["max by (process_role) (earshot_operator_processes_behind{@})", "{{process_role}}"]],
    },
    {
      title: "Processes connected",
      unit: "short",
      queries: [
        ["max by (process_role) (earshot_operator_processes_connected{@})", "{{process_role}}"],
        ["max by (process_role) (earshot_operator_processes_draining{@})", "{{process_role}}, leaving"],
      ],
    },
    {
      title: "Shards by number of routers",
      unit: "short",
      queries: [["max by (owners) (earshot_operator_shards{@})", "{{owners}}"]],
    },
    {
      title: "Shards by router",
      unit: "short",
      queries: [['sum by (pod) (earshot_router_shards{@,place="primary"})', "{{pod}}"]],
    },
    {
      title: "Links between gateways and routers",
      unit: "short",
      queries: [["sum by (state) (earshot_gateway_links{@})", "{{state}}"]],
    },
    {
      title: "What happened",
      unit: "short",
      description: "Within 5 minutes, by name.",
      queries: [["sum by (event) (increase(earshot_operator_events_total{@}[5m])) > 0", "{{event}}"]],
    },
    {
      title: "Topics",
      unit: "short",
      queries: [
        ["max(earshot_operator_topics{@})", "in force"],
        ["max(earshot_operator_not_ready_topics{@})", "not Ready"],
        ["max(earshot_operator_rejected_manifests{@})", "rejected"],
      ],
    },
  ],
};

export const KUBERNETES: Row = {
  title: "Kubernetes",
  panels: [
    {
      title: "Requests to the API server, by code",
      unit: "ops",
      queries: [
        [
          'sum by (code, method) (rate(rest_client_requests_total{@,role="operator"}[$__rate_interval]))',
          "{{method}} {{code}}",
        ],
      ],
    },
    {
      title: "API server not heard for",
      unit: "s",
      badFrom: 180,
      queries: [["max by (pod, name) (earshot_operator_informer_silent_seconds{@})", "{{pod}} {{name}}"]],
    },
    {
      title: "Work queues",
      unit: "short",
      queries: [
        ['max by (name) (workqueue_depth{@,role="operator"})', "{{name}}: keys that wait"],
        ['max by (name) (workqueue_unfinished_work_seconds{@,role="operator"})', "{{name}}: seconds in hand"],
      ],
    },
    {
      title: "Certificates: time left",
      unit: "s",
      badBelow: 21 * 86_400,
      queries: [
        ["min by (role) (earshot_peer_certificate_expiry_seconds{@} > 0) - time()", "{{role}}"],
        ["min by (role) (earshot_public_certificate_expiry_seconds{@} > 0) - time()", "{{role}}, public"],
        ["max(earshot_authority_expiry_seconds{@} > 0) - time()", "authority"],
      ],
    },
    {
      title: "Events, by what became of them",
      unit: "ops",
      queries: [[rate("earshot_operator_kube_events_total", "outcome"), "{{outcome}}"]],
    },
    {
      title: "Lists and failures of informers",
      unit: "short",
      description: "Within 5 minutes.",
      queries: [
        ["sum by (name) (increase(earshot_operator_informer_lists_total{@}[5m]))", "{{name}}: lists"],
        ["sum by (name) (increase(earshot_operator_informer_failures_total{@}[5m]))", "{{name}}: failures"],
      ],
    },
  ],
};

export const PROCESSES: Row = {
  title: "Processes",
  panels: [
    {
      title: "Event loop busy",
      unit: "percentunit",
      badFrom: 0.8,
      queries: [["max by (role, pod) (earshot_event_loop_utilization_ratio{@})", "{{pod}}"]],
    },
    {
      title: "Event loop late, p99",
      unit: "s",
      badFrom: 0.025,
      queries: [[quantile(0.99, "earshot_event_loop_delay_seconds", "pod"), "{{pod}}"]],
    },
    {
      title: "CPU",
      unit: "none",
      description: "Cores.",
      queries: [[`${rate("process_cpu_seconds_total", "role, pod")} and on (pod) earshot_build_info{@}`, "{{pod}}"]],
    },
    {
      title: "Resident memory",
      unit: "bytes",
      queries: [["process_resident_memory_bytes{@} and on (pod) earshot_build_info{@}", "{{pod}}"]],
    },
    {
      title: "Heap used",
      unit: "bytes",
      queries: [["nodejs_heap_size_used_bytes{@} and on (pod) earshot_build_info{@}", "{{pod}}"]],
    },
    {
      title: "Garbage collection",
      unit: "percentunit",
      description: "Part of the time.",
      queries: [
        [`${rate("nodejs_gc_duration_seconds_sum", "role, pod")} and on (pod) earshot_build_info{@}`, "{{pod}}"],
      ],
    },
    {
      title: "Open files",
      unit: "percentunit",
      badFrom: 0.8,
      queries: [["process_open_fds{@} / process_max_fds{@} and on (pod) earshot_build_info{@}", "{{pod}}"]],
    },
    {
      title: "Age",
      unit: "s",
      queries: [["time() - (process_start_time_seconds{@} and on (pod) earshot_build_info{@})", "{{pod}}"]],
    },
    {
      title: "Versions",
      unit: "short",
      queries: [["count by (version, role) (earshot_build_info{@})", "{{role}} {{version}}"]],
    },
  ],
};

export const PRESENCE: Row = {
  title: "Presence and Redis",
  panels: [
    {
      title: "Gateways that reach the store",
      unit: "short",
      queries: [
        ["sum(earshot_presence_store_reachable{@})", "reach it"],
        ["count(earshot_presence_store_reachable{@})", "gateways"],
      ],
    },
    {
      title: "Joins and leaves",
      unit: "ops",
      queries: [[rate("earshot_presence_operations_total", "operation"), "{{operation}}"]],
    },
    quantiles("One batch at the store", "earshot_presence_apply_seconds", "Joins and leaves are written in batches."),
    {
      title: "Waiting",
      unit: "short",
      queries: [
        ["sum(earshot_presence_pending{@})", "to be told to the store"],
        ["sum(earshot_presence_changes_outstanding{@})", "on their way to routers"],
        ["sum(earshot_presence_lists_owed{@})", "lists owed"],
      ],
    },
    {
      title: "Member lists, by outcome",
      unit: "ops",
      queries: [[rate("earshot_presence_snapshots_total", "outcome"), "{{outcome}}"]],
    },
    {
      title: "Calls to Redis, by outcome",
      unit: "ops",
      queries: [[rate("earshot_presence_redis_calls_total", "outcome"), "{{outcome}}"]],
    },
  ],
};
