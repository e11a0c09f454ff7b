// A namespace with a thousand Topics is deleted while they are carried: Kubernetes is not held up, subscribers are told, and
// nobody keeps or writes anything of what is gone.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KUBE_ASSETS } from "../harness/api-server.ts";
import { KubeFleet } from "../harness/kube-fleet.ts";
import { getTopic, makeTopic } from "../harness/kube-topics.ts";
import { metricIn } from "../harness/metrics.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, type WebSocketClient } from "../harness/websocket.ts";

const NAMESPACE = "crowded";
const TOPICS = 1_000;
const MAKERS = 16;
const PATIENCE_MS = 180_000;
/** Of that a namespace is written, when it ends: what was on its way. */
const LATE_WRITES_MAX = 32;

let kube: KubeFleet;
let client: WebSocketClient;

async function makeAll(): Promise<void> {
  let next = 0;
  const make = async (): Promise<void> => {
    for (let index = next++; index < TOPICS; index = next++) {
      await makeTopic(kube.api, NAMESPACE, `topic-${index}`, { permissions: "Public" });
    }
  };
  await Promise.all(Array.from({ length: MAKERS }, make));
}

async function isReady(namespace: string, name: string): Promise<boolean> {
  const { status } = await getTopic(kube.api, namespace, name);
  return status.conditions.some(({ type, status: is }) => type === "Ready" && is === "True");
}

async function countOf(process: string, metric: string): Promise<number> {
  return metricIn(await kube.processes.metrics(process), metric);
}

describe.skipIf(KUBE_ASSETS === undefined)("a namespace with a thousand Topics", () => {
  beforeAll(async () => {
    kube = await KubeFleet.start({ gateways: 1, controllers: ["namespace-controller"] });
    await kube.api.kubectl(["create", "namespace", NAMESPACE]);
    await makeTopic(kube.api, "default", "stays", { permissions: "Public" });
    await makeAll();
    await until(() => isReady(NAMESPACE, `topic-${TOPICS - 1}`), "the last Topic is Ready", PATIENCE_MS);
    await until(() => isReady(NAMESPACE, "topic-0"), "the first Topic is Ready", PATIENCE_MS);
    client = await openWebSocket(kube.processes.ws(), { topics: [`${NAMESPACE}.topic-0`, "default.stays"] });
  }, 600_000);

  afterAll(async () => {
    await client?.close();
    await kube?.close();
  });

  test("goes when it is deleted, and its subscribers are told", { timeout: PATIENCE_MS * 3 }, async () => {
    const start = kube.api.auditEnd();
    await kube.api.call("DELETE", `/api/v1/namespaces/${NAMESPACE}`);
    const isGone = async (): Promise<boolean> =>
      (await kube.api.call("GET", `/api/v1/namespaces/${NAMESPACE}`)).status === 404;
    await until(isGone, "the namespace is gone", PATIENCE_MS);
    const told = await client.frames.next({ type: "unsubscribed", topic_id: `${NAMESPACE}.topic-0` });
    expect(told["reason"]).toBe("topic_deleted");
    await until(
      async () => (await countOf("operator-0", "earshot_operator_topics")) === 1,
      "one Topic is left",
      PATIENCE_MS,
    );
    for (const name of ["router-0", "router-1", "gateway-0"]) {
      await until(async () => (await countOf(name, "earshot_sync_topics")) === 1, `${name} has one Topic`, PATIENCE_MS);
    }
    expect(kube.processes.logs("operator-0")).not.toContain("work failed, is tried again");
    const written = kube.wrote(start).filter(({ objectRef }) => objectRef?.namespace === NAMESPACE);
    expect(written.length).toBeLessThanOrEqual(LATE_WRITES_MAX);
  });

  test("is carried again when it is made again", { timeout: PATIENCE_MS * 2 }, async () => {
    await kube.api.kubectl(["create", "namespace", NAMESPACE]);
    await makeTopic(kube.api, NAMESPACE, "topic-0", { permissions: "Public" });
    await until(() => isReady(NAMESPACE, "topic-0"), "the Topic is Ready", PATIENCE_MS);
    client.send({ type: "subscribe", topic_id: `${NAMESPACE}.topic-0` });
    await client.frames.next(
      (frame) =>
        frame.type === "subscribed" &&
        frame["topic_id"] === `${NAMESPACE}.topic-0` &&
        client.frames.all.indexOf(frame) > client.frames.all.findIndex(({ type }) => type === "unsubscribed"),
    );
    expect(client.frames.of("unsubscribed")).toHaveLength(1);
  });

  test("leaves nothing that waits at the operator", async () => {
    const metrics = await kube.processes.metrics("operator-0");
    expect(metricIn(metrics, "workqueue_depth")).toBe(0);
    expect(metricIn(metrics, "earshot_operator_undecided_topics")).toBe(0);
    expect(metricIn(metrics, "earshot_operator_topics")).toBe(2);
  });
});
