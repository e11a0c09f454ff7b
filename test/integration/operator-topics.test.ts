import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join as joinPath } from "node:path";
import { expect, test } from "vitest";
import type { TestFleet } from "../harness/fleet.ts";
import { holds } from "../harness/holds.ts";
import { join, startOperator } from "../harness/operator-alone.ts";
import { until } from "../harness/until.ts";

function manifest(name: string, spec = "{permissions: Public}", namespace = "shop"): string {
  return `apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: ${namespace}, name: ${name}}
spec: ${spec}
`;
}

/** What the operator keeps of Topics beside their manifests; empty while it has kept nothing. */
function kept(fleet: TestFleet): string {
  const path = joinPath(fleet.stateFolder, "topic-status.json");
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

/** The notice that has `part` in it, without the folder's path. */
async function notice(fleet: TestFleet, part: string): Promise<string> {
  const told = (): string | undefined => fleet.notices.find((text) => text.includes(part));
  const text = await until(told, `a notice with ${part}; there are ${fleet.notices.join(" | ")}`);
  return text.replaceAll(`${fleet.topicsFolder}/`, "");
}

test("Topics of the folder reach a process, and every edit follows", async () => {
  const fleet = await startOperator({
    topics: [manifest("a"), `${manifest("b")}---\n${manifest("c", "{channels: Dynamic}")}`],
  });
  const gateway = await join(fleet, "gateway", "gateway-0");
  await until(() => gateway.topicsComplete, "the first list is complete");
  expect([...gateway.topics.keys()].sort()).toEqual(["shop.a", "shop.b", "shop.c"]);
  expect(gateway.topics.get("shop.c")?.policy).toMatchObject({ permissions: "Private", channels: "Dynamic" });
  const created = gateway.topics.get("shop.a")?.createdAtMs;

  fleet.writeTopics("topics-0.yaml", manifest("a", "{permissions: SubscribeOnly}"));
  await until(() => gateway.topics.get("shop.a")?.policy.permissions === "SubscribeOnly", "the edit arrives");
  expect(gateway.topics.get("shop.a")?.createdAtMs).toBe(created);

  fleet.writeTopics("topics-1.yaml", manifest("c", "{channels: Dynamic}"));
  await until(() => !gateway.topics.has("shop.b"), "a document that is taken out of its file is gone");
  fleet.removeTopics("topics-1.yaml");
  await until(() => !gateway.topics.has("shop.c"), "a file that is removed takes its Topic along");
  expect([...gateway.topics.keys()]).toEqual(["shop.a"]);
  expect(fleet.notices).toEqual([]);
});

test("a manifest without a namespace is in default, and what is no manifest file is not looked at", async () => {
  const fleet = await startOperator({
    topics: ["apiVersion: earshot.dev/v1alpha1\nkind: Topic\nmetadata: {name: plain}\n"],
  });
  for (const name of [".hidden.yaml", "#auto.yaml#", "a.yaml~", ".a.yaml.swp", "notes.txt"]) {
    writeFileSync(joinPath(fleet.topicsFolder, name), "not: [a manifest");
  }
  mkdirSync(joinPath(fleet.topicsFolder, "folder.yaml"));
  fleet.writeTopics("z.yml", manifest("last"));
  const gateway = await join(fleet, "gateway", "gateway-0");
  await until(() => gateway.topics.has("shop.last"), "the file written last is read");
  expect([...gateway.topics.keys()].sort()).toEqual(["default.plain", "shop.last"]);
  expect(fleet.notices).toEqual([]);
});

test("renaming a file, replacing it by another, and editors' ways of saving lose no Topic for a moment", async () => {
  const fleet = await startOperator({ topics: [manifest("a")] });
  const gateway = await join(fleet, "gateway", "gateway-0");
  await until(() => gateway.topics.has("shop.a"), "the Topic is there");
  const path = (name: string): string => joinPath(fleet.topicsFolder, name);
  renameSync(path("topics-0.yaml"), path("renamed.yaml"));
  // vim: the old file aside, a new one in its place.
  renameSync(path("renamed.yaml"), path("renamed.yaml~"));
  writeFileSync(path("renamed.yaml"), manifest("a", "{permissions: Private}"));
  await until(() => gateway.topics.get("shop.a")?.policy.permissions === "Private", "the new content is in force");
  // A save that truncates first.
  writeFileSync(path("renamed.yaml"), "");
  writeFileSync(path("renamed.yaml"), manifest("a", "{permissions: PublishOnly}"));
  await until(() => gateway.topics.get("shop.a")?.policy.permissions === "PublishOnly", "the next content is in force");
  expect(gateway.pushes.flatMap((push) => push.removedTopics)).toEqual([]);
  expect(fleet.notices).toEqual([]);
});

test("a half-written file is not told of, and its Topics stay as they were until it is whole", async () => {
  const fleet = await startOperator({ topics: [manifest("a")] });
  const gateway = await join(fleet, "gateway", "gateway-0");
  await until(() => gateway.topics.has("shop.a"), "the Topic is there");
  const whole = manifest("a", "\n  permissions: PublishOnly\n  channels: Dynamic");
  const file = joinPath(fleet.topicsFolder, "topics-0.yaml");
  const half = whole.indexOf("blishOnly");
  writeFileSync(file, whole.slice(0, half));
  await holds(() => gateway.topics.get("shop.a")?.policy.permissions === "Public", "the Topic stays", 120);
  appendFileSync(file, whole.slice(half));
  await until(() => gateway.topics.get("shop.a")?.policy.channels === "Dynamic", "the whole is in force");
  expect(gateway.topics.get("shop.a")?.policy.permissions).toBe("PublishOnly");
  expect(fleet.notices).toEqual([]);
});

test("a wrong manifest is named once with file, line and field, and the last good one stays, also over a restart", async () => {
  const fleet = await startOperator({ topics: [`${manifest("a")}---\n${manifest("b")}`] });
  const gateway = await join(fleet, "gateway", "gateway-0");
  await until(() => gateway.topics.size === 2, "both Topics are there");
  const wrong = `${manifest("a", "\n  permissions: Public\n  delivery:\n    maxMessageBytes: 2000000")}---\n${manifest("b", "{channels: Dynamic}")}`;
  fleet.writeTopics("topics-0.yaml", wrong);
  const told = await notice(fleet, "maxMessageBytes");
  expect(told).toBe("topics-0.yaml line 7: spec.delivery.maxMessageBytes must be at most 1048576, not 2000000");
  await until(
    () => gateway.topics.get("shop.b")?.policy.channels === "Dynamic",
    "the good document beside it is taken",
  );
  expect(gateway.topics.get("shop.a")?.policy.maxMessageBytes).toBe(65_536);
  // Touched, not changed: nothing new to tell.
  fleet.writeTopics("topics-0.yaml", wrong);
  fleet.writeTopics("other.yaml", manifest("other"));
  await until(() => gateway.topics.has("shop.other"), "a later change is seen");
  expect(fleet.notices).toHaveLength(1);
  const created = gateway.topics.get("shop.a")?.createdAtMs;

  await until(() => kept(fleet).includes("shop.other"), "the state is kept");
  gateway.disconnect();
  fleet.kill("operator-0");
  await fleet.ended("operator-0");
  await fleet.start("operator-0");
  await gateway.connect();
  await until(
    () => gateway.topicsComplete && gateway.topics.has("shop.other"),
    "the list of the next operator is complete",
  );
  expect(gateway.topics.get("shop.a")).toMatchObject({ createdAtMs: created, policy: { maxMessageBytes: 65_536 } });

  fleet.writeTopics("topics-0.yaml", `${manifest("a", "{delivery: {maxMessageBytes: 1000}}")}---\n${manifest("b")}`);
  await until(() => gateway.topics.get("shop.a")?.policy.maxMessageBytes === 1_000, "the mended one is in force");
});

test("every kind of mistake is named: another kind, an unknown field, no name, a rule of the CRD, no YAML", async () => {
  const fleet = await startOperator({ topics: [manifest("good")] });
  const head = "apiVersion: earshot.dev/v1alpha1\nkind: Topic\n";
  fleet.writeTopics("m1.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n");
  expect(await notice(fleet, "m1.yaml")).toBe('m1.yaml line 2: kind must be Topic, not "ConfigMap"');
  fleet.writeTopics("m2.yaml", `${head}metadata: {name: x}\nspec:\n  permission: Public\n`);
  expect(await notice(fleet, "m2.yaml")).toContain(
    "m2.yaml line 5: spec.permission is not a field; there are permissions,",
  );
  fleet.writeTopics("m3.yaml", `${head}metadata: {namespace: shop}\n`);
  expect(await notice(fleet, "m3.yaml")).toBe("m3.yaml line 3: metadata.name must be set");
  fleet.writeTopics(
    "m4.yaml",
    `${head}metadata: {name: x}\nspec:\n  publishers:\n  - kind: ServiceAccount\n    name: checkout\n`,
  );
  expect(await notice(fleet, "m4.yaml")).toBe(
    "m4.yaml line 6: spec.publishers[0] is wrong: a subject has a namespace exactly when its kind is ServiceAccount",
  );
  fleet.writeTopics("m5.yaml", `${head}metadata: {name: x}\nspec: {a: b\n`);
  expect(await notice(fleet, "m5.yaml")).toContain("the document is not YAML");
  fleet.writeTopics("m6.yaml", `${head}metadata: {name: ${"x".repeat(190)}}\n`);
  expect(await notice(fleet, "m6.yaml")).toContain(
    "m6.yaml line 3: metadata.name is wrong: a Topic's name has at most 189",
  );
  const metrics = await fleet.metrics("operator-0");
  expect(metrics).toMatch(/earshot_operator_rejected_manifests\{role="operator"\} 6/);
  expect(metrics).toMatch(/earshot_operator_topics\{role="operator"\} 1/);
});

test("of a Topic in two files the first file by name counts, which is told; without it the other one does", async () => {
  const fleet = await startOperator({ topics: [] });
  const gateway = await join(fleet, "gateway", "gateway-0");
  fleet.writeTopics("b.yaml", manifest("twice", "{permissions: Private}"));
  await until(() => gateway.topics.has("shop.twice"), "the first one is there");
  fleet.writeTopics("a.yaml", manifest("twice", "{permissions: PublishOnly}"));
  await until(() => gateway.topics.get("shop.twice")?.policy.permissions === "PublishOnly", "a.yaml counts");
  expect(await notice(fleet, "twice")).toBe(
    "b.yaml line 1: Topic shop.twice is in a.yaml line 1 already; that one counts",
  );
  fleet.removeTopics("a.yaml");
  await until(() => gateway.topics.get("shop.twice")?.policy.permissions === "Private", "b.yaml counts again");
  expect(gateway.pushes.flatMap((push) => push.removedTopics)).toEqual([]);
});

test("the owner of a Topic cannot be changed in its manifest, only by deleting it first", async () => {
  const fleet = await startOperator({ topics: [manifest("mine", "{owner: alice}")] });
  const gateway = await join(fleet, "gateway", "gateway-0");
  await until(() => gateway.topics.get("shop.mine")?.policy.owner === "alice", "the Topic is there");
  fleet.writeTopics("topics-0.yaml", manifest("mine", "{owner: bob}"));
  expect(await notice(fleet, "owner")).toContain("spec.owner is wrong: the owner cannot be changed");
  expect(gateway.topics.get("shop.mine")?.policy.owner).toBe("alice");
  fleet.removeTopics("topics-0.yaml");
  await until(() => !gateway.topics.has("shop.mine"), "the Topic is gone");
  fleet.writeTopics("topics-0.yaml", manifest("mine", "{owner: bob}"));
  await until(() => gateway.topics.get("shop.mine")?.policy.owner === "bob", "the new one has its own owner");
});

test("a ceiling of the installation lowers a Topic's limit, and its status says so", async () => {
  const fleet = await startOperator({
    topics: [manifest("big", "{delivery: {maxMessageBytes: 1000000}}")],
    env: { EARSHOT_TOPIC_MAX_MESSAGE_BYTES: "100KiB" },
  });
  const gateway = await join(fleet, "gateway", "gateway-0");
  await until(() => gateway.topics.get("shop.big")?.policy.maxMessageBytes === 102_400, "the lowered limit arrives");
  await until(() => kept(fleet).includes('"type":"Ready","status":"True"'), "the Topic is ready");
  expect(kept(fleet)).toContain('"reason":"Clamped"');
});

test("a folder that goes away leaves its Topics in force, and is followed again when it is back", async () => {
  const fleet = await startOperator({ topics: [manifest("a")] });
  const gateway = await join(fleet, "gateway", "gateway-0");
  await until(() => gateway.topics.has("shop.a"), "the Topic is there");
  rmSync(fleet.topicsFolder, { recursive: true });
  await notice(fleet, "what was there stays in force");
  expect(gateway.topics.has("shop.a")).toBe(true);
  mkdirSync(fleet.topicsFolder);
  fleet.writeTopics("new.yaml", `${manifest("a")}---\n${manifest("b")}`);
  await until(() => gateway.topics.has("shop.b"), "the new folder is read");
  fleet.writeTopics("new.yaml", manifest("a"));
  await until(() => !gateway.topics.has("shop.b"), "and watched");
});

test("a missing topics folder is one sentence that names the setting, and an exit code", async () => {
  const fleet = await startOperator();
  fleet.kill("operator-0");
  await fleet.ended("operator-0");
  rmSync(fleet.topicsFolder, { recursive: true });
  await expect(fleet.start("operator-0")).rejects.toThrow(/topics \(--topics, EARSHOT_TOPICS\) must be a folder/);
  expect(await fleet.ended("operator-0")).toBe(2);
});
