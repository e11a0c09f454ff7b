import { expect, test } from "vitest";
import { Role } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { join, startOperator } from "../harness/operator-alone.ts";
import { ScriptedMember } from "../harness/scripted-member.ts";
import { until } from "../harness/until.ts";

function manifests(count: number, from = 0): string {
  const one = (index: number): string =>
    `apiVersion: earshot.dev/v1alpha1\nkind: Topic\nmetadata: {namespace: many, name: t-${index}}\nspec: {permissions: Public}\n`;
  return Array.from({ length: count }, (_, index) => one(from + index)).join("---\n");
}

test("a process is told who lives, as they come and go", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  await until(() => gateway.members.join() === "gateway-0,operator-0", "it sees itself and the operator");
  const router = await join(fleet, "router", "router-0");
  await until(
    () => gateway.members.includes("router-0") && router.members.includes("gateway-0"),
    "both see each other",
  );
  router.leave();
  await until(() => !gateway.members.includes("router-0"), "the one that left is gone");
});

test("an operator that has just started says nothing of members before those that live are back", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  const other = await join(fleet, "gateway", "gateway-1");
  await until(() => gateway.members.length === 3, "all are seen");
  fleet.kill("operator-0");
  await fleet.ended("operator-0");
  await fleet.start("operator-0");
  const before = gateway.pushes.length;
  await gateway.connect();
  await until(() => gateway.topicsComplete, "Topics come at once");
  expect(gateway.pushes.slice(before).some((push) => push.members !== undefined)).toBe(false);
  await other.connect();
  await until(() => gateway.pushes.slice(before).some((push) => push.members !== undefined), "members come");
  const told = gateway.pushes.slice(before).flatMap((push) => push.members ?? []);
  expect(told.map((members) => members.processes.length)).toEqual([3]);
});

test("a stream that wants no Topics gets the map and members alone", async () => {
  const fleet = await startOperator();
  await join(fleet, "router", "router-0");
  const gateway = await join(fleet, "gateway", "gateway-0", { wantsTopics: false });
  await until(() => gateway.map !== undefined && gateway.members.length === 3, "the map is there");
  expect(gateway.pushes.every((push) => push.topics.length === 0 && !push.topicsReset)).toBe(true);
});

test("one push is in flight at a time, a list comes in chunks, and what changes meanwhile is not lost", async () => {
  const fleet = await startOperator({ topics: [manifests(2_500)] });
  const gateway = new ScriptedMember({ role: "gateway", name: "gateway-0", peersFolder: fleet.peersFolder });
  gateway.announce();
  gateway.answers = false;
  await gateway.connect();
  await until(() => gateway.pushes.length === 1, "the first push is there");
  expect(gateway.pushes[0]).toMatchObject({ topicsReset: true, topicsComplete: false });
  expect(gateway.pushes[0]?.topics).toHaveLength(1_000);
  fleet.writeTopics("more.yaml", manifests(1, 9_000));
  await until(
    async () => /earshot_operator_topics\{role="operator"\} 2501/.test(await fleet.metrics("operator-0")),
    "it is read",
  );
  expect(gateway.pushes).toHaveLength(1);
  gateway.answerAll();
  await until(() => gateway.topicsComplete && gateway.topics.size === 2_501, "all are there");
  expect(gateway.pushes.filter((push) => push.topicsReset)).toHaveLength(1);
  expect(gateway.pushes.every((push) => push.topics.length <= 1_000)).toBe(true);
  gateway.disconnect();
});

test("a push that a process refuses is counted, and the stream goes on", async () => {
  const fleet = await startOperator();
  const gateway = new ScriptedMember({ role: "gateway", name: "gateway-0", peersFolder: fleet.peersFolder });
  gateway.announce();
  gateway.answers = false;
  await gateway.connect();
  const push = await until(() => gateway.pushes[0], "the first push is there");
  gateway.send({
    case: "nack",
    value: { $typeName: "earshot.internal.v1.Nack", pushId: push.pushId, reason: "a test" },
  });
  gateway.answers = true;
  fleet.writeTopics("more.yaml", manifests(1));
  await until(() => gateway.topics.has("many.t-0"), "the next push comes");
  expect(await fleet.metrics("operator-0")).toMatch(/events_total\{event="push_refused",role="operator"\} 1/);
  gateway.disconnect();
});

test("strangers and mistakes are refused: a wrong secret, no hello, an old protocol, an unknown role", async () => {
  const fleet = await startOperator();
  const member = (): ScriptedMember =>
    new ScriptedMember({ role: "gateway", name: "gateway-0", peersFolder: fleet.peersFolder });
  const stranger = member();
  await stranger.open("not the secret");
  expect(await until(() => stranger.ended, "the stranger is refused")).toContain("peer secret");

  const silent = member();
  await silent.open();
  silent.ack(1);
  expect(await until(() => silent.ended, "it is refused")).toContain("the first frame of a Sync stream is its hello");

  for (const [hello, why] of [
    [{ protocolVersion: 0 }, "protocol version 0 is too old"],
    [{ role: Role.UNSPECIFIED }, "role is not known here"],
    [{ incarnation: "" }, "incarnation is empty"],
    [{ role: Role.ROUTER }, "address is empty"],
  ] as const) {
    const wrong = member();
    await wrong.connect(hello);
    expect(await until(() => wrong.ended, "it is refused")).toContain(why);
  }
  const good = await join(fleet, "gateway", "gateway-0");
  await until(() => good.topicsComplete, "a good one is served");
  // A newer process: it speaks what we speak.
  const newer = member();
  await newer.connect({ protocolVersion: 2 });
  await until(() => newer.topicsComplete, "a newer one is served too");
  newer.disconnect();
});

test("readiness and metrics tell of the operator's state", async () => {
  const fleet = await startOperator();
  expect(await fleet.notReady("operator-0")).toEqual([]);
  const stuck = new ScriptedMember({ role: "router", name: "router-9", peersFolder: fleet.peersFolder });
  stuck.announce();
  await until(async () => (await fleet.notReady("operator-0")).length > 0, "it waits for a map once there is a router");
  expect(await fleet.notReady("operator-0")).toEqual(["no shard map is published yet"]);
  await stuck.connect();
  await until(async () => (await fleet.notReady("operator-0")).length === 0, "it is ready with the first map");
  const metrics = await fleet.metrics("operator-0");
  expect(metrics).toMatch(/earshot_operator_epoch\{role="operator"\} \d{10}/);
  expect(metrics).toMatch(/earshot_operator_sync_streams\{process_role="router",role="operator"\} 1/);
  expect(metrics).not.toContain("default.demo");
  stuck.disconnect();
});
