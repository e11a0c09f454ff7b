// Owns: for each alert of charts/earshot/files/rules.yaml what makes it fire, and what only nearly does. Series are in the
// notation of promtool's unit tests, one value a minute; test/contract/rules.test.ts runs them.

/** Series by name and labels, as Prometheus writes them. */
export type SeriesValues = Readonly<Record<string, string>>;

export interface AlertCase {
  readonly alert: string;
  /** Labels of the alert, where several have its name. */
  readonly labels?: string;
  /** What the number of the two below is. */
  readonly of: string;
  readonly series: (value: number) => SeriesValues;
  readonly fires: number;
  /** Just not enough. */
  readonly silent: number;
  /** Minutes after which it fires. Default: 30. */
  readonly atMinutes?: number;
  /** Minutes after which it does not fire yet, as it must last; absent where it need not. */
  readonly notYetMinutes?: number;
}

const BASE = 'namespace="chat",release="earshot"';

/** Labels of a series of one process, beside those that all have. */
function of(role: string, labels = "", pod = `${role}-0`): string {
  const own = `${BASE},role="${role}",job="${role}",pod="${pod}",instance="${pod}"`;
  return `{${own}${labels === "" ? "" : `,${labels}`}}`;
}

/** Minutes that series go on: past every moment that is looked at. */
const MINUTES = 700;

/** A value that stays. */
function always(value: number): string {
  return `${value}x${MINUTES}`;
}

/** A counter that grows by as much each minute. */
function growing(perMinute: number): string {
  return `0+${perMinute}x${MINUTES}`;
}

/** Publishes of which so many of 10,000 a minute fail. */
function publishes(failed: number): SeriesValues {
  return {
    [`earshot_edge_publishes_total${of("router", 'door="grpc",outcome="accepted"')}`]: growing(10_000 - failed),
    [`earshot_edge_publishes_total${of("router", 'door="grpc",outcome="shard_unavailable"')}`]: growing(failed),
    // Their publishers' own: none of our business.
    [`earshot_edge_publishes_total${of("router", 'door="grpc",outcome="forbidden"')}`]: growing(5_000),
    [`earshot_edge_publishes_total${of("router", 'door="grpc",outcome="rate_limited"')}`]: growing(5_000),
  };
}

/** A canary so many of whose 10,000 messages a minute were late, missed and refused, a third each. */
function canary(failed: number): SeriesValues {
  const third = failed / 3;
  return {
    [`earshot_canary_heard_seconds_bucket${of("canary", 'le="0.05"')}`]: growing(10_000 - failed),
    [`earshot_canary_heard_seconds_count${of("canary")}`]: growing(10_000 - failed + third),
    [`earshot_canary_missed_total${of("canary")}`]: growing(third),
    [`earshot_canary_refused_total${of("canary")}`]: growing(third),
  };
}

const WINDOWS = [
  { long: "1h", factor: 14.4 },
  { long: "6h", factor: 6 },
  { long: "1d", factor: 3 },
  { long: "3d", factor: 1 },
] as const;

/** One in 10,000 above and below what each window takes: 0.1 % is 10 of 10,000. */
const BURNS: readonly AlertCase[] = WINDOWS.flatMap(({ long, factor }) => {
  const common = {
    labels: `long_window="${long}"`,
    of: "of 10,000 publishes or messages fail",
    fires: factor * 10 + 1,
    silent: factor * 10 - 1,
  };
  return [
    { ...common, alert: "EarshotPublishBudgetBurn", series: publishes },
    { ...common, alert: "EarshotCanaryBudgetBurn", series: canary },
  ];
});

/** Operators, so many of whom lead. */
function leaders(leading: number): SeriesValues {
  return Object.fromEntries(
    [0, 1, 2].flatMap((index) => {
      const pod = `operator-${index}`;
      return [
        [`leader_election_master_status${of("operator", 'name="earshot"', pod)}`, always(index < leading ? 1 : 0)],
        [`earshot_operator_epoch${of("operator", "", pod)}`, always(1_700_000_000)],
        // Somebody else's operator, whose leader is none of ours.
        [
          'leader_election_master_status{namespace="chat",release="earshot",role="operator",job="x",instance="x"}',
          always(1),
        ],
      ];
    }),
  );
}

function shards(owners: number, mappedRouters = 3) {
  return (count: number): SeriesValues => ({
    [`earshot_operator_shards${of("operator", `owners="${owners}"`)}`]: always(count),
    [`earshot_operator_mapped_routers${of("operator")}`]: always(mappedRouters),
  });
}

/** A certificate that ends so many days after the test's beginning, beside one that is not there. */
function certificate(days: number): SeriesValues {
  return {
    [`earshot_peer_certificate_expiry_seconds${of("router")}`]: always(days * 86_400),
    [`earshot_public_certificate_expiry_seconds${of("router")}`]: always(0),
  };
}

/** The same at the public port. */
function publicCertificate(days: number): SeriesValues {
  return {
    [`earshot_peer_certificate_expiry_seconds${of("router")}`]: always(90 * 86_400),
    [`earshot_public_certificate_expiry_seconds${of("router")}`]: always(days * 86_400),
  };
}

const CONTROL_PLANE: readonly AlertCase[] = [
  { alert: "EarshotNoLeader", of: "operators lead", series: leaders, fires: 0, silent: 1, notYetMinutes: 1 },
  { alert: "EarshotTwoLeaders", of: "operators lead", series: leaders, fires: 2, silent: 1, notYetMinutes: 1 },
  {
    alert: "EarshotOperatorGone",
    of: "operators are reached by the luckiest process",
    series: (count) => ({
      [`earshot_sync_sources${of("router", 'kind="operator"')}`]: always(0),
      [`earshot_sync_sources${of("gateway", 'kind="operator"')}`]: always(count),
    }),
    fires: 0,
    silent: 1,
    notYetMinutes: 1,
  },
  {
    alert: "EarshotShardMapNotWritten",
    of: "tries failed in 10 minutes",
    series: (count) => ({
      [`earshot_operator_events_total${of("operator", 'event="shard_map_not_stored"')}`]: `0x10 0+1x${count} ${count}x100`,
    }),
    fires: 4,
    silent: 2,
    atMinutes: 18,
  },
  { alert: "EarshotShardsWithoutOwner", of: "shards", series: shards(0), fires: 1, silent: 0, notYetMinutes: 0 },
  {
    alert: "EarshotShardsWithoutOwner",
    of: "shards, as a router sees it",
    series: (count) => ({ [`earshot_sync_unowned_shards${of("router")}`]: always(count) }),
    fires: 1,
    silent: 0,
  },
  {
    alert: "EarshotShardsUnreachable",
    of: "shards",
    series: (count) => ({ [`earshot_publish_unreachable_shards${of("gateway")}`]: always(count) }),
    fires: 1,
    silent: 0,
    notYetMinutes: 0,
  },
  { alert: "EarshotShardsWithoutStandby", of: "shards", series: shards(1), fires: 1, silent: 0, notYetMinutes: 9 },
  {
    alert: "EarshotShardsWithoutStandby",
    of: "routers, which share 1,024 shards of one owner",
    series: (routers) => shards(1, routers)(1_024),
    fires: 2,
    silent: 1,
  },
  {
    alert: "EarshotRouterRemovalHeldBack",
    of: "of 3 mapped routers are ready, after a removal was held back",
    series: (ready) => ({
      [`earshot_operator_events_total${of("operator", 'event="router_removal_held_back"')}`]: "0x10 1x100",
      [`earshot_operator_mapped_routers${of("operator")}`]: always(3),
      [`earshot_operator_processes_ready${of("operator", 'process_role="router"')}`]: always(ready),
    }),
    fires: 2,
    silent: 3,
    notYetMinutes: 12,
  },
  {
    alert: "EarshotProcessBehind",
    of: "gateways",
    series: (count) => ({
      [`earshot_operator_processes_behind${of("operator", 'process_role="gateway"')}`]: always(count),
    }),
    fires: 1,
    silent: 0,
    notYetMinutes: 1,
  },
  {
    alert: "EarshotLinksDead",
    of: "links",
    series: (count) => ({ [`earshot_operator_reported_links${of("operator", 'state="dead"')}`]: always(count) }),
    fires: 1,
    silent: 0,
    notYetMinutes: 4,
  },
  {
    alert: "EarshotTopicsNotReady",
    of: "Topics",
    series: (count) => ({ [`earshot_operator_not_ready_topics${of("operator")}`]: always(count) }),
    fires: 1,
    silent: 0,
    notYetMinutes: 14,
  },
  {
    alert: "EarshotTopicsNotReady",
    of: "rejected manifests",
    series: (count) => ({ [`earshot_operator_rejected_manifests${of("operator")}`]: always(count) }),
    fires: 1,
    silent: 0,
  },
  {
    alert: "EarshotCertificateNearEnd",
    labels: 'severity="warning"',
    of: "days are left",
    series: certificate,
    fires: 21,
    silent: 22,
    atMinutes: 90,
    notYetMinutes: 59,
  },
  {
    alert: "EarshotCertificateNearEnd",
    labels: 'severity="critical"',
    of: "days are left",
    series: certificate,
    fires: 3,
    silent: 4,
  },
  {
    alert: "EarshotCertificateNearEnd",
    labels: 'severity="critical"',
    of: "days are left of the public one",
    series: publicCertificate,
    fires: 3,
    silent: 4,
  },
];

const KUBERNETES: readonly AlertCase[] = [
  {
    alert: "EarshotCertificatesNotMade",
    of: "failures an hour",
    series: (count) => ({ [`earshot_certificate_failures_total${of("operator")}`]: `0x60 0+1x${count} ${count}x200` }),
    fires: 4,
    silent: 2,
    atMinutes: 90,
    notYetMinutes: 70,
  },
  {
    alert: "EarshotApiServerSilent",
    of: "seconds of silence",
    series: (seconds) => ({
      [`earshot_operator_informer_silent_seconds${of("operator", 'name="topics"')}`]: always(seconds),
      [`earshot_operator_informer_synced${of("operator", 'name="topics"')}`]: always(1),
    }),
    fires: 181,
    silent: 180,
    notYetMinutes: 4,
  },
  {
    alert: "EarshotApiServerSilent",
    of: "(1: it has had its first list)",
    series: (synced) => ({ [`earshot_operator_informer_synced${of("operator", 'name="endpoints"')}`]: always(synced) }),
    fires: 0,
    silent: 1,
  },
  {
    alert: "EarshotWorkQueueStuck",
    of: "seconds for what is in hand",
    series: (seconds) => ({
      [`earshot_operator_epoch${of("operator")}`]: always(1_700_000_000),
      [`workqueue_unfinished_work_seconds${of("operator", 'name="topic-status"')}`]: always(seconds),
      // Somebody else's operator.
      [`workqueue_unfinished_work_seconds{role="operator",job="x",instance="x",name="other"}`]: always(9_999),
    }),
    fires: 121,
    silent: 120,
    notYetMinutes: 1,
  },
];

const PROCESSES: readonly AlertCase[] = [
  {
    alert: "EarshotGatewayNearConnectionCap",
    of: "connections of 15,000 that there may be",
    series: (count) => ({
      [`earshot_gateway_connections${of("gateway", 'transport="sse"')}`]: always(1_000),
      [`earshot_gateway_connections${of("gateway", 'transport="websocket"')}`]: always(count - 1_000),
      [`earshot_gateway_connections_max${of("gateway")}`]: always(15_000),
    }),
    fires: 12_751,
    silent: 12_750,
    notYetMinutes: 4,
  },
  {
    alert: "EarshotConnectionsRefused",
    of: "refused connections a minute",
    series: (count) => ({
      [`earshot_gateway_connections_refused_total${of("gateway", 'limit="connections"')}`]: growing(count),
      // A limit of one address or user is that one's business.
      [`earshot_gateway_connections_refused_total${of("gateway", 'limit="address"')}`]: growing(100),
    }),
    fires: 1,
    silent: 0,
    notYetMinutes: 9,
  },
  {
    alert: "EarshotEventLoopSaturated",
    of: "part of the time that the event loop is busy",
    series: (part) => ({ [`earshot_event_loop_utilization_ratio${of("gateway")}`]: always(part) }),
    fires: 0.81,
    silent: 0.8,
    notYetMinutes: 9,
  },
  {
    alert: "EarshotLinkOverflow",
    of: "messages dropped a minute",
    series: (count) => ({
      [`earshot_router_dropped_total${of("router", 'reason="link_overflow"')}`]: growing(count),
      [`earshot_router_dropped_total${of("router", 'reason="no_subscribers"')}`]: growing(100),
    }),
    fires: 1,
    silent: 0,
  },
  {
    alert: "EarshotSlowConsumerDrops",
    of: "of 10,000 messages were dropped",
    series: (count) => ({
      [`earshot_gateway_dropped_total${of("gateway", 'rule="DropOldest"')}`]: growing(count),
      [`earshot_gateway_deliveries_total${of("gateway")}`]: growing(10_000 - count),
    }),
    fires: 101,
    silent: 99,
    notYetMinutes: 14,
  },
  {
    alert: "EarshotPresenceStale",
    of: "(1: the store is reached)",
    series: (reached) => ({
      [`earshot_presence_store_reachable${of("gateway")}`]: always(reached),
      [`earshot_presence_store_reachable${of("gateway", "", "gateway-1")}`]: always(1),
    }),
    fires: 0,
    silent: 1,
    notYetMinutes: 1,
  },
  {
    alert: "EarshotCanaryMissing",
    of: "messages a minute of a canary that has spoken",
    series: (count) => ({ [`earshot_canary_sent_total${of("canary")}`]: `0+60x10 600+${count}x600` }),
    fires: 0,
    silent: 1,
    notYetMinutes: 12,
  },
];

export const ALERT_CASES: readonly AlertCase[] = [...BURNS, ...CONTROL_PLANE, ...KUBERNETES, ...PROCESSES];

interface TimedCase {
  readonly what: string;
  readonly series: SeriesValues;
  readonly atMinutes: number;
  /** The only alerts that fire then, with their labels. */
  readonly firing: readonly string[];
  /** Of which alerts these are the only ones. Default: all. */
  readonly among?: string;
  /** Minutes between evaluations. Default: 1. */
  readonly evaluationMinutes?: number;
}

function publishesOverTime(failed: string, accepted: string): SeriesValues {
  return {
    [`earshot_edge_publishes_total${of("router", 'door="grpc",outcome="accepted"')}`]: accepted,
    [`earshot_edge_publishes_total${of("router", 'door="grpc",outcome="publish_unknown"')}`]: failed,
  };
}

/** What only time shows. */
export const TIMED_CASES: readonly TimedCase[] = [
  {
    what: "three minutes in which a tenth of all publishes fail wake nobody",
    series: publishesOverTime("0x240 0+1000x3 3000x100", growing(10_000)),
    atMinutes: 244,
    firing: [],
  },
  {
    what: "an hour in which 2 % fail is told while it lasts",
    series: publishesOverTime("0x240 0+200x60 12000x100", growing(10_000)),
    atMinutes: 300,
    firing: ['EarshotPublishBudgetBurn{long_window="1h"}'],
    // There are five hours to look back on: an hour of them is much of "3 days".
    among: 'severity="critical"',
  },
  {
    what: "and no more when it is over",
    series: publishesOverTime("0x240 0+200x60 12000x100", growing(10_000)),
    atMinutes: 308,
    firing: [],
    among: 'severity="critical"',
  },
  {
    what: "a canary that was gone for more than a day is not missed any more",
    series: { [`earshot_canary_sent_total${of("canary")}`]: "0+60x10 stale" },
    atMinutes: 1_500,
    evaluationMinutes: 15,
    firing: [],
  },
  {
    what: "a canary that is gone with its series is missed",
    series: { [`earshot_canary_sent_total${of("canary")}`]: "0+60x10 stale" },
    atMinutes: 60,
    firing: ["EarshotCanaryMissing{}"],
  },
];

/** What differs in an installation that is well from all that is only nearly wrong at once. */
export const WELL: SeriesValues = {
  ...publishes(0),
  ...canary(0),
  ...shards(1)(0),
  ...certificate(90),
};
