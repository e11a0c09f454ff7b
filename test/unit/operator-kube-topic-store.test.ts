// The store with an informer moved by hand: what a watch that was away does to it. With a real API server: test/cluster.

import { beforeEach, expect, test } from "vitest";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import type { KubeApi } from "../../operator/kube/api.ts";
import type { Informer } from "../../operator/kube/informer.ts";
import { decideStatus, type TopicStatus } from "../../operator/reconcile/conditions.ts";
import { KubeTopicStore } from "../../operator/stores/kube-topic-store.ts";
import { readStatus, type TopicObject } from "../../operator/stores/topic-object.ts";
import { HandClock } from "../harness/hand-clock.ts";

const OURS = "ns/es";

let clock: HandClock;
let objects: Map<string, TopicObject>;
let told: (key: string) => void;
let written: unknown[];
let store: KubeTopicStore;
let changes: string[];

beforeEach(async () => {
  clock = new HandClock();
  objects = new Map();
  written = [];
  changes = [];
  const informer = {
    objects,
    revision: 0n,
    start: () => Promise.resolve(),
    close: () => Promise.resolve(),
    put: (object: TopicObject) => set(object),
    onChange: (listener: (key: string) => void) => {
      told = listener;
      return () => undefined;
    },
  } as unknown as Informer<TopicObject>;
  const call = (_verb: string, _path: string, { body }: { body: { status: TopicObject["status"] } }) => {
    written.push(body.status);
    const [object] = objects.values();
    return Promise.resolve({ ...object, status: body.status });
  };
  store = new KubeTopicStore({
    api: { call } as unknown as KubeApi,
    informers: new Map([["", informer]]),
    controllerName: OURS,
    httpTopicsMax: 10,
    leadership: {
      leading: true,
      stand: () => undefined,
      resign: () => Promise.resolve(),
      onChange: () => () => undefined,
    },
    events: { record: () => undefined },
    clock,
    log: createLog("silent", {}),
    registry: new Registry(),
  });
  await store.start();
  store.onChange((key) => changes.push(`${store.topics.has(key) ? "" : "-"}${key}`));
});

function set(object: TopicObject): void {
  const key = `${object.metadata.namespace}/${object.metadata.name}`;
  objects.set(key, object);
  told(key);
}

function topic(change: Partial<TopicObject["metadata"]>, spec: unknown, status?: TopicObject["status"]): TopicObject {
  const metadata = { namespace: "shop", name: "orders", uid: "u1", resourceVersion: "5", generation: 1, ...change };
  return { metadata, spec, ...(status === undefined ? {} : { status }) };
}

function statusOf(generation: number): TopicStatus {
  const facts = { topicId: "shop.orders", generation, rejected: undefined, clamped: undefined, hot: false };
  return decideStatus({ ...facts, remark: undefined, programmed: { kind: "done" } }, undefined, 0);
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("a Topic that was deleted and made again while the watch was away is another one, though of the same generation", () => {
  set(topic({}, { permissions: "Public" }));
  expect(store.topics.get("shop.orders")?.policy.permissions).toBe("Public");
  changes.length = 0;
  set(topic({ uid: "u2", resourceVersion: "9" }, { permissions: "Private" }));
  expect(store.topics.get("shop.orders")).toMatchObject({ policy: { permissions: "Private" }, revision: 9n });
  expect(changes).toEqual(["-shop.orders", "shop.orders"]);
});

test("a Topic of another installation is not there, and is once its status names nobody", () => {
  set(topic({}, {}, { topicId: "shop.orders", controllerName: "ns/other" }));
  expect(store.topics.size).toBe(0);
  set(topic({ resourceVersion: "6" }, {}));
  expect(store.topics.size).toBe(1);
});

test("a status is written once; one that somebody else wrote is written again, not at once", async () => {
  set(topic({}, {}));
  store.putStatus("shop.orders", statusOf(1));
  await turn();
  expect(written).toHaveLength(1);
  const [object] = objects.values();
  expect(object && readStatus(object)).toEqual(statusOf(1));
  clock.advance(60_000);
  await turn();
  expect(written).toHaveLength(1);
  set(topic({ resourceVersion: "7" }, {}, { topicId: "shop.orders", controllerName: OURS, conditions: [] }));
  clock.advance(4_999);
  await turn();
  expect(written).toHaveLength(1);
  clock.advance(1);
  await turn();
  expect(written).toHaveLength(2);
  expect(written[1]).toMatchObject({ conditions: statusOf(1).conditions, controllerName: OURS });
});
