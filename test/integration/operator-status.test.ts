import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join as joinPath } from "node:path";
import { expect, test } from "vitest";
import type { TestFleet } from "../harness/fleet.ts";
import { holds } from "../harness/holds.ts";
import { join, startOperator } from "../harness/operator-alone.ts";
import { until } from "../harness/until.ts";

interface KeptTopic {
  readonly key: string;
  readonly generation: number;
  readonly status?: {
    readonly conditions: readonly { type: string; status: string; reason: string; message: string }[];
  };
}

/** Conditions of a Topic as they are kept, by type: `True Ready`. */
function conditions(fleet: TestFleet, key: string): Record<string, string> {
  const path = joinPath(fleet.stateFolder, "topic-status.json");
  if (!existsSync(path)) return {};
  const { topics } = JSON.parse(readFileSync(path, "utf8")) as { topics: KeptTopic[] };
  const status = topics.find((topic) => topic.key === key)?.status;
  return Object.fromEntries(
    (status?.conditions ?? []).map(({ type, status: is, reason }) => [type, `${is} ${reason}`]),
  );
}

test("a Topic is ready when every connected process has it, and waits while nobody is connected", async () => {
  const fleet = await startOperator();
  await until(() => conditions(fleet, "default.demo")["Ready"] === "Unknown Pending", "nobody is there yet");
  const gateway = await join(fleet, "gateway", "gateway-0");
  await until(() => conditions(fleet, "default.demo")["Ready"] === "True Ready", "the Topic is ready");
  gateway.leave();
  // What is programmed stays so when processes come and go, also under another operator.
  fleet.kill("operator-0");
  await fleet.ended("operator-0");
  await fleet.start("operator-0");
  await holds(() => conditions(fleet, "default.demo")["Ready"] === "True Ready", "the Topic stays ready", 1_000);
});

test("a process that does not confirm a Topic holds it up for 5 s at most", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  const stalled = await join(fleet, "gateway", "gateway-1");
  await until(() => gateway.topicsComplete && stalled.topicsComplete, "both have the list");
  stalled.answers = false;
  fleet.writeTopics(
    "topics-0.yaml",
    readFileSync(joinPath(fleet.topicsFolder, "topics-0.yaml"), "utf8").replace("Public", "Private"),
  );
  await until(() => gateway.topics.get("default.demo")?.policy.permissions === "Private", "one has the change");
  const startedMs = performance.now();
  await until(() => conditions(fleet, "default.demo")["Programmed"] === "Unknown Pending", "the new generation waits");
  await until(
    () => conditions(fleet, "default.demo")["Programmed"] === "True PartlyConfirmed",
    "it is decided without the other",
  );
  expect(performance.now() - startedMs).toBeGreaterThan(4_000);
  expect(conditions(fleet, "default.demo")["Ready"]).toBe("True Ready");
});

test("a Topic whose router reports very many subscriptions is Hot, and a wrong manifest is Stalled", async () => {
  const fleet = await startOperator({ env: { EARSHOT_HOT_SUBSCRIPTIONS: "10" } });
  const router = await join(fleet, "router", "router-0");
  router.report({
    hotTopics: [
      { topic: "default.demo", subscriptions: 9n },
      { topic: "no.such", subscriptions: 99n },
    ],
  });
  await until(() => conditions(fleet, "default.demo")["Ready"] === "True Ready", "the Topic is ready");
  expect(conditions(fleet, "default.demo")["Hot"]).toBeUndefined();
  router.report({ hotTopics: [{ topic: "default.demo", subscriptions: 10n }] });
  await until(() => conditions(fleet, "default.demo")["Hot"] === "True ManySubscriptions", "it is hot");
  expect(await fleet.metrics("operator-0")).toMatch(/earshot_operator_hot_topics\{role="operator"\} 1/);
  expect(await fleet.metrics("operator-0")).toMatch(/earshot_operator_not_ready_topics\{role="operator"\} 0/);
  const path = joinPath(fleet.topicsFolder, "topics-0.yaml");
  fleet.writeTopics("topics-0.yaml", readFileSync(path, "utf8").replace("Public", "Open"));
  await until(() => conditions(fleet, "default.demo")["Stalled"] === "True Invalid", "it is stalled");
  expect(conditions(fleet, "default.demo")).toMatchObject({ Accepted: "False Invalid", Ready: "False Invalid" });
  expect(await fleet.metrics("operator-0")).toMatch(/earshot_operator_not_ready_topics\{role="operator"\} 1/);
});

test("a status that the disk does not take is told once, and everything else goes on", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  await until(() => conditions(fleet, "default.demo")["Ready"] === "True Ready", "the first status is kept");
  const path = joinPath(fleet.stateFolder, "topic-status.json");
  rmSync(path);
  mkdirSync(joinPath(path, "in-the-way"), { recursive: true });
  fleet.writeTopics("more.yaml", "apiVersion: earshot.dev/v1alpha1\nkind: Topic\nmetadata: {name: more}\n");
  await until(() => gateway.topics.has("default.more"), "Topics go on");
  await until(() => fleet.notices.some((text) => text.includes("topic-status.json cannot be written")), "it is told");
  rmSync(path, { recursive: true });
  await until(() => conditions(fleet, "default.more")["Ready"] === "True Ready", "and kept again", 20_000);
  expect(fleet.notices).toHaveLength(1);
  expect(readdirSync(fleet.stateFolder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});
