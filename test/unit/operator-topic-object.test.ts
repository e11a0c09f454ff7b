import { expect, test } from "vitest";
import { decideStatus, type TopicFacts } from "../../operator/reconcile/conditions.ts";
import { transitionsOf } from "../../operator/stores/topic-events.ts";
import {
  MADE_OVER_HTTP,
  objectKeyOf,
  readStatus,
  readTopic,
  slimTopic,
  specPatch,
  statusPatch,
  type TopicObject,
  topicsPath,
} from "../../operator/stores/topic-object.ts";

const OBJECT: TopicObject = {
  metadata: {
    name: "orders.eu",
    namespace: "shop",
    uid: "u1",
    resourceVersion: "42",
    generation: 3,
    creationTimestamp: "2026-01-01T00:00:00Z",
  },
  spec: { permissions: "Public" },
};

function read(object: TopicObject, before?: TopicObject) {
  const known = before === undefined ? undefined : readTopic(before, undefined);
  return readTopic(object, known?.ok === true ? known.topic : undefined);
}

function changed(change: Partial<TopicObject["metadata"]>, spec: unknown = OBJECT.spec): TopicObject {
  return { metadata: { ...OBJECT.metadata, ...change }, spec };
}

test("an object becomes a Topic, with what its spec leaves out filled in", () => {
  expect(read(OBJECT)).toMatchObject({
    ok: true,
    topic: {
      key: "shop.orders.eu",
      namespace: "shop",
      name: "orders.eu",
      generation: 3,
      revision: 42n,
      createdAtMs: Date.UTC(2026, 0, 1),
      httpManaged: false,
      rejected: undefined,
      policy: { permissions: "Public", presence: "Count", maxMessageBytes: 65_536, maxPublishesPerSecond: 1_000 },
    },
  });
});

test("the first dot of a key splits, so names may have dots", () => {
  expect(objectKeyOf("shop.orders.eu")).toBe("shop/orders.eu");
});

test("a newer object of the same generation (its status was written) is the same revision of the Topic", () => {
  expect(read(changed({ resourceVersion: "50" }), OBJECT)).toMatchObject({ topic: { revision: 42n, generation: 3 } });
  expect(read(changed({ resourceVersion: "50", generation: 4 }), OBJECT)).toMatchObject({
    topic: { revision: 50n, generation: 4 },
  });
});

test("the label of Topics made over HTTP says who may change them", () => {
  const labels = { [MADE_OVER_HTTP.label]: MADE_OVER_HTTP.value };
  expect(read(changed({ labels }))).toMatchObject({ topic: { httpManaged: true } });
  expect(read(changed({ labels: { [MADE_OVER_HTTP.label]: "else" } }))).toMatchObject({
    topic: { httpManaged: false },
  });
});

test("a spec that this version cannot read is told, and the last good one stays in force", () => {
  const newer = changed({ generation: 4, resourceVersion: "43" }, { permissions: "Whispered" });
  expect(read(newer)).toMatchObject({ ok: false, reason: expect.stringContaining("spec.permissions") });
  expect(read(newer, OBJECT)).toMatchObject({
    ok: true,
    topic: { policy: { permissions: "Public" }, rejected: expect.stringContaining("spec.permissions"), generation: 4 },
  });
});

test("a rejected Topic that is mended is read anew", () => {
  const bad = readTopic(changed({ generation: 4 }, { permissions: "Whispered" }), goodTopic());
  const mended = readTopic(changed({ generation: 5 }), bad.ok ? bad.topic : undefined);
  expect(mended).toMatchObject({ topic: { rejected: undefined, generation: 5 } });
});

function goodTopic() {
  const good = readTopic(OBJECT, undefined);
  if (!good.ok) throw new Error(good.reason);
  return good.topic;
}

test("the status that a CRD's default makes is no operator's; one with a topic id is", () => {
  const conditions = [
    { type: "Ready", status: "Unknown", reason: "Pending", message: "Waiting for operator" },
  ] as never;
  expect(readStatus({ ...OBJECT, status: { conditions } })).toBeUndefined();
  expect(readStatus({ ...OBJECT, status: { topicId: "shop.orders.eu", observedGeneration: 3, conditions } })).toEqual({
    topicId: "shop.orders.eu",
    observedGeneration: 3,
    conditions,
  });
});

test("a status is applied to this very object, never to another that took its name", () => {
  const status = decideStatus(FACTS, undefined, 0);
  expect(statusPatch(OBJECT, status, "ns/es")).toEqual({
    apiVersion: "earshot.dev/v1alpha1",
    kind: "Topic",
    metadata: { namespace: "shop", name: "orders.eu", uid: "u1" },
    status: { ...status, controllerName: "ns/es" },
  });
});

test("a patch names exactly those fields that were asked to change", () => {
  const patch = (changes: Parameters<typeof specPatch>[0]) => JSON.parse(JSON.stringify(specPatch(changes))) as unknown;
  expect(patch({ permissions: "Private" })).toEqual({ permissions: "Private", delivery: {}, limits: {} });
  expect(patch({ maxMessageBytes: 5, maxSubscribers: 6, publishers: [] })).toEqual({
    publishers: [],
    delivery: { maxMessageBytes: 5 },
    limits: { maxSubscribers: 6 },
  });
});

test("paths are of one namespace or of all", () => {
  expect(topicsPath(undefined)).toBe("/apis/earshot.dev/v1alpha1/topics");
  expect(topicsPath("shop")).toBe("/apis/earshot.dev/v1alpha1/namespaces/shop/topics");
});

const FACTS: TopicFacts = {
  topicId: "shop.orders.eu",
  generation: 3,
  rejected: undefined,
  clamped: undefined,
  programmed: { kind: "done" },
  hot: false,
  remark: undefined,
};

function reasons(before: Partial<TopicFacts> | undefined, after: Partial<TopicFacts>): readonly string[] {
  const previous = before === undefined ? undefined : decideStatus({ ...FACTS, ...before }, undefined, 0);
  const status = decideStatus({ ...FACTS, ...after }, previous, 0);
  return transitionsOf(previous, status).map(({ type, reason }) => `${type} ${reason}`);
}

test("a Topic that becomes ready, or is decided on again, makes no Event", () => {
  expect(reasons(undefined, {})).toEqual([]);
  expect(reasons({}, { generation: 4 })).toEqual([]);
  expect(reasons({ programmed: { kind: "waiting" } }, {})).toEqual([]);
});

test("what was lowered, what is wrong, and that it is mended, each make one", () => {
  expect(reasons(undefined, { clamped: "lowered" })).toEqual(["Normal Clamped"]);
  expect(reasons({ clamped: "lowered" }, { clamped: "lowered", generation: 4 })).toEqual([]);
  expect(reasons({}, { rejected: "spec.permissions is wrong" })).toEqual(["Warning Invalid"]);
  expect(reasons({ rejected: "wrong" }, {})).toEqual(["Normal Accepted"]);
});

test("a Topic that becomes hot, or no longer is, makes one each", () => {
  expect(reasons({}, { hot: true })).toEqual(["Normal Hot"]);
  expect(reasons({ hot: true }, { hot: true })).toEqual([]);
  expect(reasons({ hot: true }, { hot: false })).toEqual(["Normal NotHot"]);
});

test("what is kept of an object is all that is read of it, and what many have alike is kept once", () => {
  const status = { ...decideStatus(FACTS, undefined, 0), controllerName: "earshot/live" };
  const labels = { [MADE_OVER_HTTP.label]: MADE_OVER_HTTP.value, team: "shop" };
  const full = (name: string): TopicObject => ({
    apiVersion: "earshot.dev/v1alpha1",
    kind: "Topic",
    metadata: { ...OBJECT.metadata, name, labels, annotations: { note: "long" } },
    spec: { permissions: "Public" },
    status: structuredClone(status),
  });
  const [one, other] = [slimTopic(full("one")), slimTopic(full("other"))];
  expect(read(one)).toEqual(read(full("one")));
  expect(readStatus(one)).toEqual(readStatus(full("one")));
  expect(statusPatch(one, status, "earshot/live")).toEqual(statusPatch(full("one"), status, "earshot/live"));
  expect(one.metadata).not.toHaveProperty("annotations");
  expect(one.metadata.labels).toEqual({ [MADE_OVER_HTTP.label]: MADE_OVER_HTTP.value });
  expect(one.spec).toBe(other.spec);
  expect(one.status?.conditions).toBe(other.status?.conditions);
  expect(slimTopic(OBJECT)).toEqual(OBJECT);
});
