import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join as joinPath } from "node:path";
import { expect, test } from "vitest";
import type { TopicPolicy } from "#core/domain/topic.ts";
import { policyToProto } from "#core/fleet/topic-codec.ts";
import { join, startOperator } from "../harness/operator-alone.ts";
import { until } from "../harness/until.ts";

const POLICY: TopicPolicy = {
  permissions: "Private",
  owner: "alice",
  // Names that YAML reads as something else, unless they are quoted.
  publishers: ["bob", "yes", "y", "null", "0x10", "1:30", "~", "- a", "a: b", "#c", "*d", "2026-01-01"].map(
    (name) => ({ kind: "User", name }) as const,
  ),
  subscribers: [{ kind: "ChannelUser" }, { kind: "ServiceAccount", namespace: "shop", name: "checkout" }],
  channels: "Dynamic",
  presence: "Count",
  slowConsumer: "DropOldest",
  maxMessageBytes: 65_536,
  batchWindowMilliseconds: 0,
  priority: "Normal",
  maxPublishesPerSecond: 1_000,
  maxSubscribers: 0,
  maxChannels: 0,
};

function createOf(name: string, policy: TopicPolicy = POLICY, namespace = "default") {
  return { namespace, name, change: { case: "create", value: policyToProto(policy) } } as const;
}

function updateOf(name: string, policy: TopicPolicy) {
  return { namespace: "default", name, change: { case: "update", value: policyToProto(policy) } } as const;
}

function deleteOf(name: string) {
  return { namespace: "default", name, change: { case: "delete", value: true } } as const;
}

test("a Topic is made, changed and deleted, every connected gateway has it when it is answered, and it outlives a restart", async () => {
  const fleet = await startOperator();
  const gateways = [await join(fleet, "gateway", "gateway-0"), await join(fleet, "gateway", "gateway-1")];
  await until(() => gateways.every((gateway) => gateway.topicsComplete), "gateways have the first list");
  const [gateway] = gateways;
  if (gateway === undefined) throw new Error("no gateway");
  expect(gateway.httpTopicsNamespace).toBe("default");

  const made = await gateway.mutate(createOf("chat"));
  expect(made.error).toBeUndefined();
  expect(made.ready).toBe(true);
  expect(made.topic).toMatchObject({ namespace: "default", name: "chat", httpManaged: true });
  for (const each of gateways) expect(each.topics.get("default.chat")?.policy).toEqual(POLICY);
  expect(readdirSync(joinPath(fleet.stateFolder, "http-topics"))).toEqual(["default.chat.yaml"]);

  const changed = await gateway.mutate(updateOf("chat", { ...POLICY, permissions: "Public" }));
  expect(changed).toMatchObject({ ready: true, topic: { createdAtMs: made.topic?.createdAtMs } });
  for (const each of gateways) expect(each.topics.get("default.chat")?.policy.permissions).toBe("Public");

  fleet.kill("operator-0");
  await fleet.ended("operator-0");
  await fleet.start("operator-0");
  await gateway.connect();
  await until(() => gateway.topicsComplete, "the list of the next operator is complete");
  expect(gateway.topics.get("default.chat")).toMatchObject({
    createdAtMs: Number(made.topic?.createdAtMs),
    httpManaged: true,
    policy: { ...POLICY, permissions: "Public" },
  });

  expect(await gateway.mutate(deleteOf("chat"))).toMatchObject({ ready: true });
  expect(gateway.topics.has("default.chat")).toBe(false);
  expect(readdirSync(joinPath(fleet.stateFolder, "http-topics"))).toEqual([]);
  expect((await gateway.mutate(deleteOf("chat"))).error?.code).toBe("topic_not_found");
});

test("two changes of different fields at once are both kept, though each sender knows only the Topic before them", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  await until(() => gateway.topicsComplete, "the gateway has the first list");
  await gateway.mutate(createOf("chat"));
  const [one, two] = await Promise.all([
    gateway.mutate({
      ...updateOf("chat", { ...POLICY, permissions: "Public" }),
      updateMask: { paths: ["permissions"] },
    }),
    gateway.mutate({ ...updateOf("chat", { ...POLICY, publishers: [] }), updateMask: { paths: ["publishers"] } }),
  ]);
  expect([one.error, two.error]).toEqual([undefined, undefined]);
  expect(gateway.topics.get("default.chat")?.policy).toEqual({ ...POLICY, permissions: "Public", publishers: [] });
  const nothing = { ...updateOf("chat", { ...POLICY, presence: "Members" }), updateMask: { paths: [] } };
  expect((await gateway.mutate(nothing)).error).toBeUndefined();
  expect(gateway.topics.get("default.chat")?.policy.presence).toBe("Count");
  const owner = { ...updateOf("chat", { ...POLICY, owner: "eve" }), updateMask: { paths: ["owner"] } };
  expect((await gateway.mutate(owner)).error?.code).toBe("invalid_request");
  expect(gateway.topics.get("default.chat")?.policy.owner).toBe("alice");
});

test("what may not be made is refused with its code, and nothing is stored", async () => {
  const fleet = await startOperator({ env: { EARSHOT_HTTP_TOPICS_MAX: "2" } });
  const gateway = await join(fleet, "gateway", "gateway-0");
  const codeOf = async (request: Parameters<typeof gateway.mutate>[0]): Promise<string> =>
    (await gateway.mutate(request)).error?.code ?? "none";
  expect(await codeOf(createOf("demo"))).toBe("topic_exists");
  for (const name of ["Upper", "", "a_b", "a".repeat(190), "-a", "a..b", "../../x", "a/b"]) {
    expect(await codeOf(createOf(name)), JSON.stringify(name)).toBe("topic_name_invalid");
  }
  expect(await codeOf(createOf("x", POLICY, "other"))).toBe("namespace_not_served");
  expect(await codeOf(createOf("x", { ...POLICY, maxMessageBytes: 2_000_000 }))).toBe("invalid_request");
  const many = Array.from({ length: 65 }, (_, index) => ({ kind: "User", name: `u${index}` }) as const);
  expect(await codeOf(createOf("x", { ...POLICY, publishers: many }))).toBe("invalid_request");
  expect(await codeOf(createOf("a".repeat(189), { ...POLICY, publishers: many.slice(1) }))).toBe("none");
  expect(await codeOf(createOf("second"))).toBe("none");
  expect(await codeOf(createOf("third"))).toBe("quota_exceeded");
  expect(await codeOf(createOf("second"))).toBe("topic_exists");
  expect(await codeOf(updateOf("second", { ...POLICY, owner: "mallory" }))).toBe("invalid_request");
  expect(await codeOf(updateOf("third", POLICY))).toBe("topic_not_found");
  // The Topic of a manifest is changed there alone.
  expect(await codeOf(updateOf("demo", POLICY))).toBe("forbidden");
  expect(await codeOf(deleteOf("demo"))).toBe("forbidden");
  expect(readdirSync(joinPath(fleet.stateFolder, "http-topics")).sort()).toHaveLength(2);
  expect([...gateway.topics.keys()].sort()).toEqual([`default.${"a".repeat(189)}`, "default.demo", "default.second"]);
});

test("an installation without a namespace for them makes no Topics over HTTP", async () => {
  const fleet = await startOperator({ env: { EARSHOT_HTTP_TOPICS_NAMESPACE: "" } });
  const gateway = await join(fleet, "gateway", "gateway-0");
  expect(gateway.httpTopicsNamespace).toBe("");
  expect((await gateway.mutate(createOf("x"))).error?.code).toBe("namespace_not_served");
});

test("an answer waits 100 ms for a gateway that stalls, and then says that the Topic is not ready", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  const stalled = await join(fleet, "gateway", "gateway-1");
  await until(() => gateway.topicsComplete && stalled.topicsComplete, "both have the first list");
  stalled.answers = false;
  const startedMs = performance.now();
  const made = await gateway.mutate(createOf("chat"));
  expect(made).toMatchObject({ ready: false, topic: { name: "chat" } });
  expect(performance.now() - startedMs).toBeGreaterThan(90);
  expect(gateway.topics.has("default.chat")).toBe(true);
  // What comes meanwhile is one push when the gateway answers again.
  await gateway.mutate(createOf("second"));
  await gateway.mutate(createOf("third"));
  const before = stalled.pushes.length;
  stalled.answerAll();
  await until(() => stalled.topics.has("default.third"), "the gateway catches up");
  expect(stalled.pushes.length).toBe(before + 1);
  expect((await gateway.mutate(createOf("fourth"))).ready).toBe(true);
});

test("many Topics made at once are all there, each once", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  await until(() => gateway.topicsComplete, "the first list is complete");
  const names = Array.from({ length: 100 }, (_, index) => `t-${index % 50}`);
  const answers = await Promise.all(names.map((name) => gateway.mutate(createOf(name))));
  expect(answers.filter((answer) => answer.error === undefined)).toHaveLength(50);
  expect(answers.filter((answer) => answer.error?.code === "topic_exists")).toHaveLength(50);
  await until(() => gateway.topics.size === 51, "the gateway has all of them");
});

test("a manifest of the same Topic in the folder counts before the one made over HTTP, which is told", async () => {
  const fleet = await startOperator({ topics: [] });
  const gateway = await join(fleet, "gateway", "gateway-0");
  await gateway.mutate(createOf("both"));
  const head = "apiVersion: earshot.dev/v1alpha1\nkind: Topic\nmetadata: {name: both}\n";
  fleet.writeTopics("both.yaml", `${head}spec: {owner: alice, permissions: SubscribeOnly}\n`);
  await until(() => gateway.topics.get("default.both")?.policy.permissions === "SubscribeOnly", "the folder counts");
  expect(gateway.topics.get("default.both")?.httpManaged).toBe(false);
  await until(
    () => fleet.notices.some((text) => /default.both is in .*both.yaml line 1 already/.test(text)),
    "it is told",
  );
  fleet.removeTopics("both.yaml");
  await until(() => gateway.topics.get("default.both")?.httpManaged === true, "the one made over HTTP counts again");
  expect(gateway.topics.get("default.both")?.policy.permissions).toBe("Private");
});

test("a Topic that the disk does not take is refused, and can be made when the disk takes it again", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  const folder = joinPath(fleet.stateFolder, "http-topics");
  renameSync(folder, `${folder}.aside`);
  writeFileSync(folder, "in the way");
  const refused = await gateway.mutate(createOf("chat"));
  expect(refused.error).toMatchObject({ code: "control_plane_unavailable", retryable: true });
  expect(gateway.topics.has("default.chat")).toBe(false);
  renameSync(folder, `${folder}.file`);
  renameSync(`${folder}.aside`, folder);
  expect((await gateway.mutate(createOf("chat"))).error).toBeUndefined();
  expect(existsSync(joinPath(folder, "default.chat.yaml"))).toBe(true);
});

test("a file of a Topic made over HTTP that was spoiled is told at the start, and the others are there", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  await gateway.mutate(createOf("good"));
  await gateway.mutate(createOf("spoiled"));
  const file = joinPath(fleet.stateFolder, "http-topics", "default.spoiled.yaml");
  writeFileSync(file, readFileSync(file, "utf8").replace("Private", "Open"));
  fleet.kill("operator-0");
  await fleet.ended("operator-0");
  await fleet.start("operator-0");
  await gateway.connect();
  await until(() => gateway.topicsComplete, "the list is complete");
  expect(gateway.topics.has("default.good")).toBe(true);
  expect(gateway.topics.has("default.spoiled")).toBe(false);
  expect(fleet.notices.find((text) => text.includes(file))).toContain(
    "spec.permissions must be one of Public, Private",
  );
});
