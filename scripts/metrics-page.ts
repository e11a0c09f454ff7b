// Owns: docs/metrics.md, made from what real processes of every kind expose, so that a metric that is there is on the page
// and the other way round. `npm run docs` writes it (docs.ts); test/integration/metrics.test.ts checks that it is fresh.
// A metric whose labels nobody can see, because it has no series yet, is refused: its series begin at 0.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PeerJudge } from "#core/fleet/peer-judge.ts";
import { ServiceAccounts } from "#core/fleet/service-accounts.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { createLog } from "#core/runtime/log.ts";
import { createRegistry } from "#core/runtime/metrics.ts";
import { parseEndpoint } from "#core/fleet/peer-endpoint.ts";
import { eventCounter, informerMetrics, leaderMetric, queueMetrics, requestCounter } from "../operator/kube/metrics.ts";
import { CertificateAuthority } from "../operator/tls/authority.ts";
import { Canary } from "../test/harness/canary.ts";
import { startFleet, TEST_PEER_SECRET, type TestFleet } from "../test/harness/fleet.ts";
import { publish } from "../test/harness/http.ts";
import { MemorySecrets } from "../test/harness/memory-secrets.ts";
import { ProvenFleet } from "../test/harness/proven-fleet.ts";
import { until } from "../test/harness/until.ts";

const ROOT = join(import.meta.dirname, "..");

/** A kind of process, and what it is called on the page. */
const KINDS = {
  operator: "Operator",
  router: "Router",
  gateway: "Gateway",
  presence: "Presence process (standalone mode)",
  canary: "Canary",
} as const;
type Kind = keyof typeof KINDS;

/** What some processes of a kind expose, and others do not. */
const VARIANTS = {
  clusterOperator: { kind: "operator", note: "in Kubernetes" },
  clusterRouter: { kind: "router", note: "in Kubernetes" },
  clusterGateway: { kind: "gateway", note: "in Kubernetes" },
  publicRouter: { kind: "router", note: "with a public gRPC port" },
  redisGateway: { kind: "gateway", note: "with `redisUrl`" },
  memoryGateway: { kind: "gateway", note: "" },
  plainRouter: { kind: "router", note: "" },
  operator: { kind: "operator", note: "" },
  presence: { kind: "presence", note: "" },
  canary: { kind: "canary", note: "" },
} as const satisfies Record<string, { readonly kind: Kind; readonly note: string }>;
type Variant = keyof typeof VARIANTS;

/** Text of /metrics of one process of each variant. */
export type Scrapes = Readonly<Record<Variant, string>>;

interface Metric {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly labels: readonly string[];
}

/** Starts a process of every variant, lets something happen, and asks all of them. */
export async function scrapeEveryKind(): Promise<Scrapes> {
  const fleet = await startFleet({ routers: 1, gateways: 1 });
  try {
    // Nobody answers there: what a gateway measures of Redis is there all the same.
    const away = await startFleet({
      routers: 1,
      gateways: 1,
      presence: false,
      env: { EARSHOT_REDIS_URL: "redis://127.0.0.1:1" },
    });
    try {
      for (const one of [fleet, away]) await publish(one.http(), "default.demo", "seen");
      const operator = await fleet.metrics("operator-0");
      return {
        ...(await scrapeProven()),
        clusterOperator: operator + (await operatorInKubernetes()),
        operator,
        presence: await fleet.metrics("presence-0"),
        plainRouter: await fleet.metrics("router-0"),
        publicRouter: await scrapePublicRouter(fleet),
        memoryGateway: await fleet.metrics("gateway-0"),
        redisGateway: await away.metrics("gateway-0"),
        canary: await scrapeCanary(fleet),
      };
    } finally {
      await away.close();
    }
  } finally {
    await fleet.close();
  }
}

/** Processes that prove themselves as in a cluster. */
async function scrapeProven(): Promise<Pick<Scrapes, "clusterRouter" | "clusterGateway">> {
  const fleet = await ProvenFleet.start();
  try {
    const [router, gateway] = [await fleet.spawn("router", "127.0.0.1"), await fleet.spawn("gateway", "127.0.0.2")];
    await Promise.all([fleet.connected(router), fleet.connected(gateway)]);
    fleet.keys();
    fleet.serve([router]);
    await until(async () => (await fleet.notReady(gateway)).length === 0, "the gateway serves", 60_000);
    await publish(fleet.http(gateway), "shop.demo", "seen");
    return { clusterRouter: await fleet.metrics(router), clusterGateway: await fleet.metrics(gateway) };
  } finally {
    await fleet.close();
  }
}

/** What an operator exposes besides where it keeps everything in Kubernetes, which no machine of a developer need have. */
async function operatorInKubernetes(): Promise<string> {
  const registry = createRegistry("operator");
  const clock = SYSTEM_CLOCK;
  const log = createLog("silent", {});
  requestCounter(registry, "10.0.0.1:443");
  eventCounter(registry);
  leaderMetric(registry, "earshot", () => false);
  queueMetrics(registry, "topics", { depth: () => 0, unfinishedMs: () => 0 });
  informerMetrics(registry, "topics", { objects: () => 0, synced: () => false, silentMs: () => 0 });
  const installation = { release: "live", namespace: "shop" };
  const accounts = new ServiceAccounts({ clock, log });
  void new PeerJudge({ installation, audience: "shop", accounts, clock, log, registry });
  const leadership = { leading: false, onChange: () => () => undefined };
  void new CertificateAuthority({ store: new MemorySecrets(), installation, leadership, clock, log, registry });
  return registry.metrics();
}

async function scrapeCanary(fleet: TestFleet): Promise<string> {
  const at = fleet.grpc();
  const canary = await Canary.start({ folder: fleet.folder, topic: "default.demo", publish: at, subscribe: at });
  try {
    return await canary.metrics();
  } finally {
    await canary.close();
  }
}

/** A router as a cluster runs it: services publish to it. In standalone mode gateways have that port. */
async function scrapePublicRouter(fleet: TestFleet): Promise<string> {
  const child: ChildProcess = spawn(process.execPath, [join(ROOT, "router", "main.ts")], {
    stdio: "ignore",
    env: {
      PATH: process.env["PATH"] ?? "",
      EARSHOT_NAME: "router-public",
      EARSHOT_PEERS: `folder:${fleet.peersFolder}`,
      EARSHOT_PEER_SECRET: TEST_PEER_SECRET,
      EARSHOT_SECRET: fleet.secret,
      EARSHOT_GRPC_PORT: "0",
    },
  });
  const ended = once(child, "exit");
  try {
    const file = join(fleet.peersFolder, "router-public.json");
    await until(() => existsSync(file), "the public router is there", 60_000);
    const endpoint = parseEndpoint(JSON.parse(readFileSync(file, "utf8")));
    return await (await fetch(`http://${endpoint?.probes}/metrics`)).text();
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
}

/** The metrics that a text exposes. Throws where one has no series. */
export function metricsOf(text: string): readonly Metric[] {
  const metrics: Metric[] = [];
  for (const [, name = "", help = "", type = ""] of text.matchAll(/^# HELP (\S+) (.*)\n# TYPE \S+ (\w+)$/gm)) {
    const labels = labelsOf(text, name);
    if (labels === undefined) throw new Error(`${name} has no series: let those it can have begin at 0`);
    metrics.push({ name, type, help, labels });
  }
  return metrics;
}

/** Names of the labels of a metric's series, but those that every series has; undefined where it has no series. */
function labelsOf(text: string, name: string): readonly string[] | undefined {
  const labels = new Set<string>();
  let series = 0;
  for (const [, list = ""] of text.matchAll(new RegExp(`^${name}(?:_bucket|_sum|_count)?\\{([^}]*)\\} `, "gm"))) {
    series += 1;
    for (const [, label = ""] of list.matchAll(/(\w+)="/g)) labels.add(label);
  }
  labels.delete("role");
  labels.delete("le");
  return series === 0 ? undefined : [...labels].toSorted();
}

/** The page. */
export function metricsPage(scrapes: Scrapes): string {
  const byVariant = Object.fromEntries(
    Object.entries(scrapes).map(([variant, text]) => [variant, metricsOf(text)]),
  ) as Record<Variant, readonly Metric[]>;
  const everywhere = byVariant.presence.filter(({ name }) =>
    Object.values(byVariant).every((metrics) => metrics.some((metric) => metric.name === name)),
  );
  const sections = (Object.keys(KINDS) as Kind[]).map((kind) => {
    const rows = rowsOf(kind, byVariant, new Set(everywhere.map(({ name }) => name)));
    return `## ${KINDS[kind]}\n\n${rows.length === 0 ? "Nothing but what every process has." : table(rows)}`;
  });
  return `# Metrics

Generated by \`npm run docs\` from what the processes expose.

Every process serves \`/metrics\` in Prometheus' text format on its probe port; in standalone mode
\`curl localhost:8080/api/v1/status\` tells where. What to look at when something is wrong: [operations.md](operations.md).

Each series has the label \`role\`: operator, router, gateway, presence or canary. No label ever carries a topic, a channel, a user, a
token or an address, and no process has more series for having more of them. All durations have the same buckets, from
0.1 ms to 1 s with one at 50 ms, so that the parts of a message's way can be laid beside each other:

\`\`\`
publisher --earshot_edge_publish_seconds (there and back)--> router's answer
          edge --earshot_publish_hop_seconds (there and back)--> router
                 router --earshot_router_batch_wait_seconds--> link
                 router --earshot_router_handed_on_seconds (there and back, one clock)--> every socket of a gateway
                 router --earshot_gateway_link_delivery_seconds--> gateway
                                           gateway --earshot_gateway_fan_out_seconds--> every socket
                 router --earshot_gateway_delivery_seconds--> every socket
\`\`\`

## Every process

${table(everywhere.map((metric) => ({ metric, note: "" })))}

${sections.join("\n\n")}
`;
}

interface Row {
  readonly metric: Metric;
  readonly note: string;
}

function rowsOf(kind: Kind, byVariant: Record<Variant, readonly Metric[]>, known: ReadonlySet<string>): readonly Row[] {
  const variants = (Object.keys(VARIANTS) as Variant[]).filter((variant) => VARIANTS[variant].kind === kind);
  const rows = new Map<string, Row>();
  for (const variant of variants) {
    for (const metric of byVariant[variant]) {
      if (known.has(metric.name)) continue;
      const others = variants.filter((other) => !byVariant[other].some(({ name }) => name === metric.name));
      const labels = [...new Set([...(rows.get(metric.name)?.metric.labels ?? []), ...metric.labels])].toSorted();
      rows.set(metric.name, { metric: { ...metric, labels }, note: others.length === 0 ? "" : VARIANTS[variant].note });
    }
  }
  return [...rows.values()];
}

function table(rows: readonly Row[]): string {
  const lines = rows
    .toSorted((one, other) => (one.metric.name < other.metric.name ? -1 : 1))
    .map(({ metric: { name, type, labels, help }, note }) => {
      const cells = [
        `\`${name}\``,
        type,
        labels.map((label) => `\`${label}\``).join(", "),
        note === "" ? help : `${help} Only ${note}.`,
      ];
      return `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("<", "&lt;")).join(" | ")} |`;
    });
  return ["| metric | type | labels | meaning |", "|---|---|---|---|", ...lines].join("\n");
}
