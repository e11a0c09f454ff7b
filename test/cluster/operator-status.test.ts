// What a real operator says of Topics at a real API server: every condition of the design, with the generation that it speaks
// of, Events where something turned, and that the fleet really carries what is Ready.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KUBE_ASSETS } from "../harness/api-server.ts";
import { publish } from "../harness/http.ts";
import { INSTALLED_IN, KubeFleet, RELEASE } from "../harness/kube-fleet.ts";
import { installCrds } from "../harness/kube-setup.ts";
import { getTopic, makeTopic, patchTopic, type StoredTopic, stored, topicPath } from "../harness/kube-topics.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, type WebSocketClient } from "../harness/websocket.ts";

const CEILING = 131_072;
const HOT = 3;
const NAMESPACE = "shop";
const PATIENCE_MS = 60_000;

let kube: KubeFleet;
const clients: WebSocketClient[] = [];

/** `Ready: True Ready @1` for each condition. */
function told({ status }: StoredTopic): readonly string[] {
  return status.conditions.map(
    ({ type, status, reason, observedGeneration }) => `${type}: ${status} ${reason} @${observedGeneration}`,
  );
}

async function untilTold(name: string, condition: string): Promise<StoredTopic> {
  return until(
    async () => {
      const topic = await getTopic(kube.api, NAMESPACE, name);
      return told(topic).includes(condition) ? topic : undefined;
    },
    `${name} is told ${condition}`,
    PATIENCE_MS,
  );
}

/** Reasons of the Events about a Topic, oldest first. */
async function eventsOf(name: string): Promise<readonly string[]> {
  const { body } = await kube.api.call("GET", `/apis/events.k8s.io/v1/namespaces/${NAMESPACE}/events`);
  const { items } = body as {
    items: { type: string; reason: string; regarding: { name: string }; eventTime: string }[];
  };
  return items
    .filter(({ regarding }) => regarding.name === name)
    .toSorted((a, b) => a.eventTime.localeCompare(b.eventTime))
    .map(({ type, reason }) => `${type} ${reason}`);
}

async function hear(topicId: string): Promise<WebSocketClient> {
  const client = await openWebSocket(kube.processes.ws(), { topics: [topicId], token: signToken({ sub: "alice" }) });
  clients.push(client);
  return client;
}

describe.skipIf(KUBE_ASSETS === undefined)("the operator", () => {
  beforeAll(async () => {
    kube = await KubeFleet.start({
      gateways: 1,
      env: { EARSHOT_HOT_SUBSCRIPTIONS: String(HOT), EARSHOT_PRESENCE_STORE: "None" },
      operatorEnv: { EARSHOT_TOPIC_MAX_MESSAGE_BYTES: String(CEILING) },
    });
    await kube.api.kubectl(["create", "namespace", NAMESPACE]);
  });

  afterAll(async () => {
    for (const client of clients) await client.close();
    await kube?.close();
  });

  test("makes a Topic ready, which is carried then", async () => {
    await makeTopic(kube.api, NAMESPACE, "orders", { permissions: "Public" });
    const { status } = await untilTold("orders", "Ready: True Ready @1");
    expect(status).toMatchObject({
      observedGeneration: 1,
      topicId: "shop.orders",
      controllerName: `${INSTALLED_IN}/${RELEASE}`,
      conditions: [
        { type: "Accepted", status: "True", reason: "Accepted", observedGeneration: 1 },
        { type: "Programmed", status: "True", reason: "Programmed", observedGeneration: 1 },
        { type: "Ready", status: "True", reason: "Ready", observedGeneration: 1 },
      ],
    });
    const ear = await hear("shop.orders");
    const spoken = await publish(kube.processes.http(), "shop.orders", { n: 1 }, { token: signToken({ sub: "bob" }) });
    expect(spoken).toMatchObject({ status: 200, json: { delivered_to: 1 } });
    await ear.frames.next({ type: "message", topic_id: "shop.orders" });
  });

  test("speaks of the new generation when the spec changes, and keeps the time of what did not turn", async () => {
    await makeTopic(kube.api, NAMESPACE, "changing", { permissions: "Public" });
    const before = await untilTold("changing", "Ready: True Ready @1");
    stored(await patchTopic(kube.api, [NAMESPACE, "changing"], { spec: { permissions: "SubscribeOnly" } }));
    const after = await untilTold("changing", "Ready: True Ready @2");
    expect(told(after)).toEqual([
      "Accepted: True Accepted @2",
      "Programmed: True Programmed @2",
      "Ready: True Ready @2",
    ]);
    expect(after.status.observedGeneration).toBe(2);
    const times = (topic: StoredTopic): unknown =>
      topic.status.conditions.map(({ type, lastTransitionTime }) => [type, lastTransitionTime]);
    const [accepted] = times(after) as unknown[];
    expect(accepted).toEqual((times(before) as unknown[])[0]);
    expect(await eventsOf("changing")).toEqual([]);
  });

  test("lowers what is above the installation's ceiling, and says so", async () => {
    await makeTopic(kube.api, NAMESPACE, "large", { delivery: { maxMessageBytes: CEILING + 1 } });
    const large = await untilTold("large", "Ready: True Clamped @1");
    expect(told(large)[0]).toBe("Accepted: True Clamped @1");
    expect(large.status.conditions[0]?.message).toContain(String(CEILING));
    // The spec stays what its author wrote.
    expect(large.spec).toMatchObject({ delivery: { maxMessageBytes: CEILING + 1 } });
    await until(async () => (await eventsOf("large")).includes("Normal Clamped"), "an Event tells", PATIENCE_MS);
    stored(await patchTopic(kube.api, [NAMESPACE, "large"], { spec: { delivery: { maxMessageBytes: CEILING } } }));
    await untilTold("large", "Ready: True Ready @2");
    expect(await eventsOf("large")).toEqual(["Normal Clamped"]);
  });

  test("says that lists of members are not kept where there is no store", async () => {
    await makeTopic(kube.api, NAMESPACE, "members", { presence: "Members" });
    const topic = await untilTold("members", "Ready: True Ready @1");
    expect(topic.status.conditions.find(({ type }) => type === "Ready")?.message).toMatch(/members/);
  });

  test("marks a Topic hot when very many subscribe, with an Event", async () => {
    await makeTopic(kube.api, NAMESPACE, "hot", { permissions: "Public" });
    await untilTold("hot", "Ready: True Ready @1");
    for (let count = 0; count < HOT; count++) await hear("shop.hot");
    const hot = await untilTold("hot", "Hot: True ManySubscriptions @1");
    expect(told(hot)).toEqual([
      "Accepted: True Accepted @1",
      "Programmed: True Programmed @1",
      "Ready: True Ready @1",
      "Hot: True ManySubscriptions @1",
    ]);
    // No count is written, none of its channels is named.
    expect(hot.status.conditions[3]?.message).not.toMatch(/\d|shop\.hot/);
    await until(async () => (await eventsOf("hot")).includes("Normal Hot"), "an Event tells", PATIENCE_MS);
  });

  test("lets go of a Topic that is deleted", async () => {
    await makeTopic(kube.api, NAMESPACE, "going", { permissions: "Public" });
    await untilTold("going", "Ready: True Ready @1");
    const ear = await hear("shop.going");
    expect((await kube.api.call("DELETE", topicPath(NAMESPACE, "going"))).status).toBe(200);
    await ear.frames.next({ type: "unsubscribed", topic_id: "shop.going", reason: "topic_deleted" });
    const token = signToken({ sub: "bob" });
    expect(await publish(kube.processes.http(), "shop.going", 1, { token })).toMatchObject({ status: 404 });
  });

  test("leaves a Topic alone that another installation has taken charge of", async () => {
    const { processes, api } = kube;
    processes.kill("operator-0", "SIGSTOP");
    await makeTopic(api, NAMESPACE, "others", { permissions: "Public" });
    const status = { controllerName: "elsewhere/earshot" };
    stored(await patchTopic(api, [NAMESPACE, "others"], { status }, "/status"));
    processes.kill("operator-0", "SIGCONT");
    await makeTopic(api, NAMESPACE, "later");
    await untilTold("later", "Ready: True Ready @1");
    expect((await getTopic(api, NAMESPACE, "others")).status).toMatchObject({
      ...status,
      conditions: [{ type: "Ready", reason: "Pending" }],
    });
    const token = signToken({ sub: "bob" });
    expect(await publish(processes.http(), "shop.others", 1, { token })).toMatchObject({ status: 404 });
  });

  test("says of what a newer CRD allows and it cannot read that it waits for somebody, and goes on with the last", async () => {
    const { api } = kube;
    await makeTopic(api, NAMESPACE, "future", { permissions: "Public" });
    await untilTold("future", "Ready: True Ready @1");
    const permissions = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/permissions/enum/-";
    const patch = JSON.stringify([{ op: "add", path: permissions, value: "Sealed" }]);
    await api.kubectl(["patch", "crd", "topics.earshot.dev", "--type=json", "-p", patch]);
    await until(
      async () => (await patchTopic(api, [NAMESPACE, "future"], { spec: { permissions: "Sealed" } })).status === 200,
      "the API server takes what the newer CRD allows",
      PATIENCE_MS,
    );
    await untilTold("future", "Stalled: True Invalid @2");
    const stalled = await untilTold("future", "Programmed: True Programmed @2");
    expect(told(stalled)).toEqual([
      "Accepted: False Invalid @2",
      "Programmed: True Programmed @2",
      "Ready: False Invalid @2",
      "Stalled: True Invalid @2",
    ]);
    await until(async () => (await eventsOf("future")).includes("Warning Invalid"), "an Event tells", PATIENCE_MS);
    const token = signToken({ sub: "bob" });
    expect(await publish(kube.processes.http(), "shop.future", 1, { token })).toMatchObject({ status: 200 });
    stored(await patchTopic(api, [NAMESPACE, "future"], { spec: { permissions: "Private" } }));
    const mended = await untilTold("future", "Ready: True Ready @3");
    expect(told(mended)).toContain("Stalled: False Accepted @3");
    await until(async () => (await eventsOf("future")).length > 1, "an Event tells of the end", PATIENCE_MS);
    expect(await eventsOf("future")).toEqual(["Warning Invalid", "Normal Accepted"]);
    await installCrds(kube.server.address);
  });
});
