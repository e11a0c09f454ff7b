// Owns: rows of the dashboard about messages and clients: what is promised, how much, how fast, to whom, and what was lost.

import { quantile, quantiles, type Row, rate } from "./panel.ts";

export const OBJECTIVES: Row = {
  title: "Objectives (99.9 % of 30 days)",
  panels: [
    {
      title: "Publishes: budget left",
      unit: "percentunit",
      stat: true,
      width: 6,
      badBelow: 0.1,
      description: "Part of the month's allowed failures that is left; below 0 the objective is missed.",
      queries: [["namespace_release:earshot_publish_error_budget:remaining_ratio30d{@}", "{{release}}"]],
    },
    {
      title: "Heard in 50 ms: budget left",
      unit: "percentunit",
      stat: true,
      width: 6,
      badBelow: 0.1,
      description: "The same of the canary's messages.",
      queries: [["namespace_release:earshot_canary_error_budget:remaining_ratio30d{@}", "{{release}}"]],
    },
    {
      title: "Shards without a router",
      unit: "short",
      stat: true,
      width: 6,
      badFrom: 1,
      queries: [['max(earshot_operator_shards{@,owners="0"})', "shards"]],
    },
    {
      title: "Leaders",
      unit: "short",
      stat: true,
      width: 6,
      badBelow: 1,
      queries: [['sum(leader_election_master_status{@,role="operator"})', "leaders"]],
    },
    {
      title: "Part of publishes that fail",
      unit: "percentunit",
      badFrom: 0.001,
      description: "For reasons that are not their publishers', by window.",
      queries: ["5m", "1h", "6h", "3d"].map((window) => [
        `namespace_release:earshot_edge_publishes_failed:ratio_rate${window}{@}`,
        window,
      ]),
    },
    {
      title: "Part of the canary's messages not heard in 50 ms",
      unit: "percentunit",
      badFrom: 0.001,
      queries: ["5m", "1h", "6h", "3d"].map((window) => [
        `namespace_release:earshot_canary_failed:ratio_rate${window}{@}`,
        window,
      ]),
    },
    quantiles(
      "Canary: publish to hearing",
      "earshot_canary_heard_seconds",
      "Through router and gateway, by one clock.",
    ),
  ],
};

export const MESSAGES: Row = {
  title: "Messages",
  panels: [
    {
      title: "Publishes by outcome",
      unit: "ops",
      queries: [[rate("earshot_edge_publishes_total", "outcome"), "{{outcome}}"]],
    },
    { title: "Publishes by door", unit: "ops", queries: [[rate("earshot_edge_publishes_total", "door"), "{{door}}"]] },
    {
      title: "Messages sequenced, by router",
      unit: "ops",
      queries: [[rate("earshot_router_messages_total", "pod"), "{{pod}}"]],
    },
    {
      title: "Deliveries to clients, by gateway",
      unit: "ops",
      queries: [[rate("earshot_gateway_deliveries_total", "pod"), "{{pod}}"]],
    },
    {
      title: "Copies for gateways",
      unit: "ops",
      description: "Records that routers hand to links: one for each gateway with subscribers.",
      queries: [[rate("earshot_router_fanout_records_total", "pod"), "{{pod}}"]],
    },
    {
      title: "Payload bytes",
      unit: "Bps",
      queries: [[rate("earshot_router_message_bytes_total", "pod"), "{{pod}}"]],
    },
  ],
};

export const LATENCY: Row = {
  title: "Latency, part by part of a message's way",
  panels: [
    {
      title: "Router to socket within 50 ms",
      unit: "percentunit",
      badBelow: 0.95,
      description: "Part of what gateways delivered that was with the last subscriber within 50 ms of being sequenced.",
      queries: [
        [
          'sum(rate(earshot_gateway_delivery_seconds_bucket{@,le="0.05"}[$__rate_interval])) / sum(rate(earshot_gateway_delivery_seconds_count{@}[$__rate_interval]))',
          "within 50 ms",
        ],
      ],
    },
    quantiles("Router to socket", "earshot_gateway_delivery_seconds", "Link and fan-out together; two clocks."),
    quantiles("Router to socket and back", "earshot_router_handed_on_seconds", "By the router's clock alone."),
    quantiles("Wait for a batch", "earshot_router_batch_wait_seconds", "Sequenced to written to a link."),
    quantiles("Link", "earshot_gateway_link_delivery_seconds", "The network, and the difference of two clocks."),
    quantiles("Fan-out", "earshot_gateway_fan_out_seconds", "Come from a router to the last subscriber's socket."),
    quantiles("One slice of fan-out", "earshot_gateway_fan_out_slice_seconds", "All else in the gateway waits for it."),
    {
      title: "Publisher's wait, p99 by door",
      unit: "s",
      queries: [[quantile(0.99, "earshot_edge_publish_seconds", "door"), "{{door}}"]],
    },
    quantiles("Edge to router and back", "earshot_publish_hop_seconds", "Without the publisher's own way."),
  ],
};

export const CONNECTIONS: Row = {
  title: "Connections",
  panels: [
    {
      title: "By transport",
      unit: "short",
      queries: [["sum by (transport) (earshot_gateway_connections{@})", "{{transport}}"]],
    },
    {
      title: "Fullness, by gateway",
      unit: "percentunit",
      badFrom: 0.85,
      queries: [
        [
          "sum by (pod) (earshot_gateway_connections{@}) / sum by (pod) (earshot_gateway_connections_max{@})",
          "{{pod}}",
        ],
      ],
    },
    {
      title: "Subscriptions and topics",
      unit: "short",
      queries: [
        ["sum(earshot_gateway_subscriptions{@})", "subscriptions"],
        ["sum(earshot_gateway_topics{@})", "topics of gateways"],
        ["sum(earshot_operator_hot_topics{@})", "hot Topics"],
      ],
    },
    {
      title: "Ended, by close code",
      unit: "ops",
      queries: [[rate("earshot_gateway_connections_ended_total", "code"), "{{code}}"]],
    },
    {
      title: "Refused, by limit",
      unit: "ops",
      queries: [
        [rate("earshot_gateway_connections_refused_total", "limit"), "{{limit}}"],
        [rate("earshot_grpc_connections_refused_total", "role"), "gRPC at {{role}}"],
      ],
    },
    {
      title: "Tokens, by outcome",
      unit: "ops",
      queries: [[rate("earshot_token_verifications_total", "outcome"), "{{outcome}}"]],
    },
  ],
};

export const DROPS: Row = {
  title: "What was not delivered, and why",
  panels: [
    {
      title: "Dropped at routers",
      unit: "ops",
      description: "no_subscribers is no loss: nobody was there.",
      queries: [[rate("earshot_router_dropped_total", "reason"), "{{reason}}"]],
    },
    {
      title: "Dropped for slow clients, by rule",
      unit: "ops",
      queries: [[rate("earshot_gateway_dropped_total", "rule"), "{{rule}}"]],
    },
    {
      title: "Gaps that clients were told",
      unit: "ops",
      queries: [[rate("earshot_gateway_gaps_total", "reason"), "{{reason}}"]],
    },
    {
      title: "Publishes that failed on their way to a router",
      unit: "ops",
      queries: [[rate("earshot_publish_failures_total", "code"), "{{code}}"]],
    },
    {
      title: "Calls and frames above a limit",
      unit: "ops",
      queries: [
        [rate("earshot_calls_rate_limited_total", "limit"), "{{limit}}"],
        [rate("earshot_gateway_frames_dropped_total", "role"), "frames"],
      ],
    },
    {
      title: "Bytes that wait",
      unit: "bytes",
      queries: [
        ["sum(earshot_gateway_unsent_bytes{@})", "for clients"],
        ["sum(earshot_gateway_fan_out_queued_bytes{@})", "for fan-out"],
        ["sum(earshot_router_undrained_bytes{@})", "for gateways"],
        ["sum(earshot_publish_unanswered_bytes{@})", "for answers"],
      ],
    },
  ],
};
