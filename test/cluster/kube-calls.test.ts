// Calls of the operator to a real API server: connections, time, tokens, refusals; and the Events that it writes.

import { afterEach, beforeEach, expect, test } from "vitest";
import { KubeError } from "../../operator/kube/api.ts";
import { EventRecorder, type Regarding } from "../../operator/kube/events.ts";
import { apiServer, makeNamespace } from "../harness/kube-cluster.ts";
import { KubeRig } from "../harness/kube-rig.ts";
import { metricIn } from "../harness/metrics.ts";
import { until } from "../harness/until.ts";

const access = apiServer();
let rig: KubeRig;
let namespace: string;

beforeEach(async () => {
  namespace = await makeNamespace(access, "calls");
  rig = await KubeRig.make(access, namespace);
});

afterEach(() => rig.close());

async function failureOf(promise: Promise<unknown>): Promise<KubeError> {
  const error: unknown = await promise.then(
    () => new Error("it worked"),
    (error: unknown) => error,
  );
  if (error instanceof KubeError) return error;
  throw error;
}

const YES_OR_NO = [() => true, () => false] as const;

function configMap(name: string): unknown {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name } };
}

test("many calls, one after the other, use the same connections", async () => {
  for (let index = 0; index < 20; index++) {
    await rig.api.call("POST", rig.path, { body: configMap(`c-${index}`) });
    await rig.api.call("GET", `${rig.path}/c-${index}`);
  }
  // undici opens a second one where a call comes in the very turn in which the one before ended.
  expect(rig.proxy.accepted).toBeLessThanOrEqual(2);
});

test("calls at the same time use 32 connections at most, and all are answered", async () => {
  const calls = Array.from({ length: 200 }, (_, index) =>
    rig.api.call("POST", rig.path, { body: configMap(`c-${index}`) }),
  );
  await Promise.all(calls);
  expect(Object.keys(await rig.stored())).toHaveLength(200);
  expect(rig.proxy.accepted).toBeLessThanOrEqual(32);
});

test("a refusal says why, as Kubernetes does", async () => {
  await rig.api.call("POST", rig.path, { body: configMap("a") });
  const again = await failureOf(rig.api.call("POST", rig.path, { body: configMap("a") }));
  expect(again).toMatchObject({ status: 409, reason: "AlreadyExists", unavailable: false });
  expect(again.message).toContain("already exists");
  const missing = await failureOf(rig.api.call("GET", `${rig.path}/none`));
  expect(missing).toMatchObject({ status: 404, reason: "NotFound" });
  const wrong = { ...(configMap("A!") as object), data: { "not a key": "" } };
  expect(await failureOf(rig.api.call("POST", rig.path, { body: wrong }))).toMatchObject({
    status: 422,
    reason: "Invalid",
  });
  const stale = { ...(configMap("a") as object), metadata: { name: "a", resourceVersion: "1" } };
  expect(await failureOf(rig.api.call("PUT", `${rig.path}/a`, { body: stale }))).toMatchObject({
    status: 409,
    reason: "Conflict",
  });
});

test("server-side apply and merge patches go by their content type", async () => {
  const query = { fieldManager: "earshot", force: "true" };
  const applied = await rig.api.call<{ metadata: { labels: unknown } }>("PATCH", `${rig.path}/a`, {
    query,
    contentType: "application/apply-patch+yaml",
    body: { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a", labels: { by: "apply" } } },
  });
  expect(applied.metadata.labels).toEqual({ by: "apply" });
  const merged = await rig.api.call<{ metadata: { labels: unknown } }>("PATCH", `${rig.path}/a`, {
    contentType: "application/merge-patch+json",
    body: { metadata: { labels: { and: "merge" } } },
  });
  expect(merged.metadata.labels).toEqual({ by: "apply", and: "merge" });
});

test("a call that nothing answers ends in its time, and the next one does not use its connection", async () => {
  await rig.api.call("GET", rig.path);
  rig.proxy.freeze();
  expect(await failureOf(rig.api.call("GET", rig.path, { timeoutMs: 200 }))).toMatchObject({
    status: 0,
    reason: "Timeout",
    unavailable: true,
  });
  const before = rig.proxy.accepted;
  rig.proxy.thaw();
  await rig.api.call("GET", rig.path);
  expect(rig.proxy.accepted).toBeGreaterThan(before);
});

test("idle connections are given up with one that was found dead", async () => {
  await Promise.all(Array.from({ length: 8 }, () => rig.api.call("GET", rig.path)));
  rig.proxy.freeze();
  expect((await failureOf(rig.api.call("GET", rig.path, { timeoutMs: 200 }))).reason).toBe("Timeout");
  await until(() => rig.proxy.connections === 0, "all are closed");
});

test("a call ends when whoever made it does not want it any more", async () => {
  rig.proxy.freeze();
  const ending = new AbortController();
  const call = failureOf(rig.api.call("GET", rig.path, { signal: ending.signal }));
  await until(() => rig.proxy.requests.length === 1, "it is on its way");
  ending.abort();
  expect(await call).toMatchObject({ status: 0, reason: "Closed" });
  expect(await failureOf(rig.api.call("GET", rig.path, { signal: ending.signal }))).toMatchObject({ reason: "Closed" });
  expect(rig.proxy.requests).toHaveLength(1);
});

test("closing ends what is under way, and refuses what comes later", async () => {
  rig.proxy.freeze();
  const call = failureOf(rig.api.call("GET", rig.path));
  await until(() => rig.proxy.requests.length === 1, "it is on its way");
  await rig.api.close();
  expect(await call).toMatchObject({ status: 0, reason: "Closed" });
  expect(await failureOf(rig.api.call("GET", rig.path))).toMatchObject({ status: 0, reason: "Closed" });
  await rig.api.close();
});

test("a reset connection, and an answer that ends in its middle, are no answer", async () => {
  await rig.api.call("GET", rig.path);
  rig.proxy.freeze();
  const call = failureOf(rig.api.call("GET", rig.path));
  await until(() => rig.proxy.requests.length === 2, "it is on its way");
  rig.proxy.reset();
  expect(await call).toMatchObject({ status: 0, reason: "NoAnswer" });
  rig.proxy.thaw();
  rig.proxy.cutAnswers = true;
  expect(await failureOf(rig.api.call("GET", rig.path))).toMatchObject({ status: 0, reason: "NoAnswer" });
  rig.proxy.cutAnswers = false;
  await rig.api.call("GET", rig.path);
});

test("a token that was replaced is loaded anew, and the call made again", async () => {
  await rig.api.call("GET", rig.path);
  rig.proxy.accept("second token");
  rig.proxy.giveToken("second token");
  await rig.api.call("GET", rig.path);
  expect(rig.proxy.requests).toHaveLength(3);
});

test("where the cluster's authority was replaced, the new one is loaded", async () => {
  await rig.api.call("GET", rig.path);
  rig.proxy.replaceAuthority();
  expect(await failureOf(rig.api.call("GET", rig.path))).toMatchObject({ status: 0, reason: "NoAnswer" });
  rig.proxy.giveToken("first token");
  const isAnswered = (): Promise<boolean> => rig.api.call("GET", rig.path).then(...YES_OR_NO);
  await until(isAnswered, "it is believed again", 60_000);
});

test("a token that stays wrong is no reason to ask again and again", async () => {
  rig.proxy.accept("never given");
  for (let count = 0; count < 5; count++) {
    expect(await failureOf(rig.api.call("GET", rig.path))).toMatchObject({ status: 401, reason: "Unauthorized" });
  }
  expect(rig.proxy.requests.length).toBeLessThanOrEqual(10);
});

test("what the server asks to wait is told", async () => {
  rig.proxy.refuse(() => ({ status: 429, reason: "TooManyRequests", retryAfterSeconds: 7 }));
  const refusal = await failureOf(rig.api.call("GET", rig.path));
  expect(refusal).toMatchObject({ status: 429, retryAfterMs: 7_000, unavailable: true });
  rig.proxy.refuse(() => ({ status: 503, retryAfterSeconds: 86_400 }));
  expect(await failureOf(rig.api.call("GET", rig.path))).toMatchObject({ status: 503, retryAfterMs: 60_000 });
});

test("requests are counted as client-go counts them", async () => {
  await rig.api.call("GET", rig.path);
  await failureOf(rig.api.call("GET", `${rig.path}/none`));
  rig.proxy.freeze();
  await failureOf(rig.api.call("GET", rig.path, { timeoutMs: 100 }));
  const text = await rig.apiRegistry.metrics();
  expect(metricIn(text, "rest_client_requests_total", 'code="200",method="GET"')).toBe(1);
  expect(metricIn(text, "rest_client_requests_total", 'code="404",method="GET"')).toBe(1);
  expect(metricIn(text, "rest_client_requests_total", 'code="<error>",method="GET"')).toBe(1);
});

function recorder(): EventRecorder {
  const { api, clock, log, registry } = rig;
  return new EventRecorder({ api, controller: "earshot.dev/operator", instance: "operator-0", clock, log, registry });
}

function topic(name: string): Regarding {
  return { apiVersion: "earshot.dev/v1alpha1", kind: "Topic", metadata: { name, namespace, uid: `uid-of-${name}` } };
}

async function storedEvents(): Promise<readonly { note: string; reason: string; regarding: unknown }[]> {
  const { body } = await access.call("GET", `/apis/events.k8s.io/v1/namespaces/${namespace}/events`);
  return (body as { items: { note: string; reason: string; regarding: unknown }[] }).items;
}

test("an Event stands at its object, once, however often it is said", async () => {
  const events = recorder();
  const text = { type: "Normal", reason: "Ready", action: "Program", note: "delivers" } as const;
  for (let count = 0; count < 5; count++) events.record(topic("a"), text);
  events.record(topic("b"), { ...text, type: "Warning", note: "x".repeat(5_000) });
  await until(async () => (await storedEvents()).length === 2, "both are there", 60_000);
  const [first] = await storedEvents();
  expect(first).toMatchObject({
    reason: "Ready",
    note: "delivers",
    type: "Normal",
    action: "Program",
    reportingController: "earshot.dev/operator",
    reportingInstance: "operator-0",
    regarding: { kind: "Topic", name: "a", namespace, uid: "uid-of-a" },
  });
  expect(await access.kubectl(["get", "events", "-n", namespace])).toContain("topic/a");
  const counted = await rig.registry.metrics();
  expect(metricIn(counted, "earshot_operator_kube_events_total", 'outcome="repeated"')).toBe(4);
  await events.close();
});

test("Events that come too fast are dropped, and who records never waits nor fails", async () => {
  const events = recorder();
  rig.proxy.freeze();
  for (let count = 0; count < 3_000; count++) {
    events.record(topic(`t-${count}`), { type: "Normal", reason: "Ready", action: "Program", note: "delivers" });
  }
  const counted = await rig.registry.metrics();
  expect(metricIn(counted, "earshot_operator_kube_events_total", 'outcome="dropped"')).toBeGreaterThan(2_500);
  await events.drain(50);
  await events.close();
  await events.close();
});

test("an Event that is refused is let go of, and the next one is written", async () => {
  const events = recorder();
  rig.proxy.refuse(() => ({ status: 403, reason: "Forbidden" }));
  events.record(topic("a"), { type: "Normal", reason: "Ready", action: "Program", note: "refused" });
  await events.drain(60_000);
  rig.proxy.refuse(() => undefined);
  events.record(topic("a"), { type: "Normal", reason: "Ready", action: "Program", note: "written" });
  await events.drain(60_000);
  expect((await storedEvents()).map(({ note }) => note)).toEqual(["written"]);
  expect(metricIn(await rig.registry.metrics(), "earshot_operator_kube_events_total", 'outcome="failed"')).toBe(1);
  await events.close();
});
