// Owns: the metrics of this folder. What controller-runtime and client-go also have bears their names, so that their
// dashboards and alerts work here. Several queues, informers and electors share one registry: each metric is made once,
// and each of them has its series from its start, at 0.

import { Counter, Gauge, Histogram, type Registry } from "#core/runtime/metrics.ts";

/** Seconds: from what a handler takes to what a queue waits while the API server is away. */
const SECONDS_BUCKETS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60];

interface Shape {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
}

function counter(registry: Registry, shape: Shape): Counter {
  return (
    (registry.getSingleMetric(shape.name) as Counter | undefined) ?? new Counter({ ...shape, registers: [registry] })
  );
}

function histogram(registry: Registry, shape: Shape): Histogram {
  const existing = registry.getSingleMetric(shape.name) as Histogram | undefined;
  return existing ?? new Histogram({ ...shape, buckets: SECONDS_BUCKETS, registers: [registry] });
}

/** How several of one name, say informers of one kind of object in several namespaces, are one number. */
type Combine = (numbers: readonly number[]) => number;

const sum: Combine = (numbers) => numbers.reduce((total, number) => total + number, 0);
const least: Combine = (numbers) => Math.min(...numbers);
const most: Combine = (numbers) => Math.max(...numbers);

/** Of a gauge that is read when somebody asks: whom to ask, by name. */
const READERS = new WeakMap<Gauge, Map<string, (() => number)[]>>();

interface Named {
  readonly registry: Registry;
  readonly name: string;
  readonly combine?: Combine;
}

function readNamed(named: Named, shape: Omit<Shape, "labelNames">, read: () => number): void {
  const { registry, name, combine = sum } = named;
  const existing = registry.getSingleMetric(shape.name) as Gauge | undefined;
  const readers = (existing && READERS.get(existing)) ?? new Map<string, (() => number)[]>();
  readers.set(name, [...(readers.get(name) ?? []), read]);
  if (existing !== undefined) return;
  const gauge: Gauge = new Gauge({
    ...shape,
    labelNames: ["name"],
    registers: [registry],
    collect: () => {
      for (const [label, reads] of readers) gauge.set({ name: label }, combine(reads.map((one) => one())));
    },
  });
  READERS.set(gauge, readers);
}

/** Counts one request; `<error>` is the code where there was no answer. */
export type RequestCounter = (code: string, method: string) => void;

export function requestCounter(registry: Registry, host: string): RequestCounter {
  const requests = counter(registry, {
    name: "rest_client_requests_total",
    help: "Requests to the Kubernetes API server, by status code, method and host.",
    labelNames: ["code", "method", "host"],
  });
  requests.inc({ code: "200", method: "GET", host }, 0);
  return (code, method) => requests.inc({ code, method, host });
}

export interface QueueMetrics {
  added(): void;
  retried(): void;
  /** A key is taken up that waited so long. */
  taken(waitedMs: number): void;
  done(tookMs: number, failed: boolean): void;
}

export interface QueueState {
  readonly depth: () => number;
  readonly unfinishedMs: () => number;
}

export function queueMetrics(registry: Registry, name: string, state: QueueState): QueueMetrics {
  const labelNames = ["name"];
  const adds = counter(registry, { name: "workqueue_adds_total", help: "Keys added to a work queue.", labelNames });
  const retries = counter(registry, {
    name: "workqueue_retries_total",
    help: "Keys that a work queue tries again after a failure.",
    labelNames,
  });
  const waited = histogram(registry, {
    name: "workqueue_queue_duration_seconds",
    help: "How long keys wait in a work queue.",
    labelNames,
  });
  const took = histogram(registry, {
    name: "workqueue_work_duration_seconds",
    help: "How long a work queue's handler takes for a key.",
    labelNames,
  });
  const depth = { name: "workqueue_depth", help: "Keys that wait in a work queue: each once at most." };
  readNamed({ registry, name }, depth, state.depth);
  const unfinished = {
    name: "workqueue_unfinished_work_seconds",
    help: "Seconds that what is in hand of a work queue has taken so far.",
  };
  readNamed({ registry, name }, unfinished, () => state.unfinishedMs() / 1_000);
  adds.inc({ name }, 0);
  retries.inc({ name }, 0);
  waited.zero({ name });
  took.zero({ name });
  const reconciled = reconcileMetrics(registry, name);
  return {
    added: () => adds.inc({ name }),
    retried: () => retries.inc({ name }),
    taken: (waitedMs) => waited.observe({ name }, waitedMs / 1_000),
    done: (tookMs, failed) => {
      took.observe({ name }, tookMs / 1_000);
      reconciled(tookMs, failed);
    },
  };
}

function reconcileMetrics(registry: Registry, controller: string): (tookMs: number, failed: boolean) => void {
  const total = counter(registry, {
    name: "controller_runtime_reconcile_total",
    help: "Keys handled, by controller (the name of its work queue) and result.",
    labelNames: ["controller", "result"],
  });
  const errors = counter(registry, {
    name: "controller_runtime_reconcile_errors_total",
    help: "Keys whose handling failed, by controller.",
    labelNames: ["controller"],
  });
  const took = histogram(registry, {
    name: "controller_runtime_reconcile_time_seconds",
    help: "How long handling a key takes, by controller.",
    labelNames: ["controller"],
  });
  total.inc({ controller, result: "success" }, 0);
  total.inc({ controller, result: "error" }, 0);
  errors.inc({ controller }, 0);
  took.zero({ controller });
  return (tookMs, failed) => {
    total.inc({ controller, result: failed ? "error" : "success" });
    if (failed) errors.inc({ controller });
    took.observe({ controller }, tookMs / 1_000);
  };
}

export function leaderMetric(registry: Registry, name: string, leading: () => boolean): void {
  const status = {
    name: "leader_election_master_status",
    help: "Whether this process holds the Lease of that name.",
  };
  readNamed({ registry, name }, status, () => (leading() ? 1 : 0));
}

export interface InformerState {
  readonly objects: () => number;
  readonly synced: () => boolean;
  readonly silentMs: () => number;
}

/** Of an informer, what happened to it. */
export interface InformerMetrics {
  listed(): void;
  failed(): void;
}

export function informerMetrics(registry: Registry, name: string, state: InformerState): InformerMetrics {
  const objects = { name: "earshot_operator_informer_objects", help: "Objects that an informer holds." };
  readNamed({ registry, name }, objects, state.objects);
  const synced = {
    name: "earshot_operator_informer_synced",
    help: "Whether an informer has had its first whole list.",
  };
  readNamed({ registry, name, combine: least }, synced, () => (state.synced() ? 1 : 0));
  const silent = {
    name: "earshot_operator_informer_silent_seconds",
    help: "Seconds since an informer last heard from the API server; beyond 100 it asks anew.",
  };
  readNamed({ registry, name, combine: most }, silent, () => state.silentMs() / 1_000);
  const lists = counter(registry, {
    name: "earshot_operator_informer_lists_total",
    help: "Whole lists that an informer has taken: one at its start, and one wherever a watch could not go on.",
    labelNames: ["name"],
  });
  const failures = counter(registry, {
    name: "earshot_operator_informer_failures_total",
    help: "Lists and watches of an informer that failed and were tried again.",
    labelNames: ["name"],
  });
  lists.inc({ name }, 0);
  failures.inc({ name }, 0);
  return { listed: () => lists.inc({ name }), failed: () => failures.inc({ name }) };
}

export type EventOutcome = "sent" | "repeated" | "dropped" | "failed";

export function eventCounter(registry: Registry): (outcome: EventOutcome) => void {
  const events = counter(registry, {
    name: "earshot_operator_kube_events_total",
    help: "Kubernetes Events by what became of them: sent, repeated (told a moment ago), dropped (too many), failed.",
    labelNames: ["outcome"],
  });
  for (const outcome of ["sent", "repeated", "dropped", "failed"]) events.inc({ outcome }, 0);
  return (outcome) => events.inc({ outcome });
}
