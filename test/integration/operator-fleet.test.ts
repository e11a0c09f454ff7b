import { afterEach, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { until } from "../harness/until.ts";

let fleet: TestFleet | undefined;

afterEach(async () => {
  await fleet?.close();
  fleet = undefined;
});

/** Publishes to many topics, so to many shards; answers how many were refused. */
async function refusals(started: TestFleet): Promise<number> {
  const answers = await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      fetch(`${started.http()}/api/v1/topics/default.demo:${index}/publish`, { method: "POST", body: '{"payload":1}' }),
    ),
  );
  return answers.filter((answer) => !answer.ok).length;
}

async function converged(started: TestFleet, what: string): Promise<void> {
  await until(async () => (await refusals(started)) === 0, `every shard is carried ${what}`);
  for (const gateway of started.names("gateway")) {
    await until(async () => (await started.notReady(gateway)).length === 0, `${gateway} is ready ${what}`);
  }
}

async function kill(started: TestFleet, name: string): Promise<void> {
  started.kill(name);
  await started.ended(name);
}

test("routers killed one after the other, then one started again: real processes converge each time", async () => {
  const started = await startFleet();
  fleet = started;
  await converged(started, "at first");
  await kill(started, "router-0");
  await converged(started, "by the one that is left");
  await kill(started, "router-1");
  await until(async () => (await refusals(started)) === 40, "with no router nothing is carried");
  await started.start("router-0");
  await converged(started, "by the one that came back");
  await started.start("router-1");
  await converged(started, "by both again");
});

test("a new operator and dead routers at the same time still converge", async () => {
  const started = await startFleet();
  fleet = started;
  await converged(started, "at first");
  await Promise.all(["operator-0", "router-0"].map((name) => kill(started, name)));
  expect(await until(async () => (await refusals(started)) === 0, "publishes go on without an operator")).toBe(true);
  await started.start("operator-0");
  await kill(started, "router-1");
  await Promise.all(["router-0", "router-1"].map((name) => started.start(name)));
  await converged(started, "by new routers under a new operator");
});

test("a router that is frozen long enough leaves the map, and is in it again when it goes on", async () => {
  const started = await startFleet();
  fleet = started;
  await converged(started, "at first");
  const routers = async (): Promise<string> => {
    const metrics = await started.metrics("operator-0");
    return /earshot_operator_mapped_routers\{role="operator"\} (\d+)/.exec(metrics)?.[1] ?? "none";
  };
  expect(await routers()).toBe("2");
  // The hold-off of a new leader protects a router that is merely not seen: its shards move, it stays listed.
  started.kill("router-0", "SIGSTOP");
  await until(async () => (await refusals(started)) === 0, "every shard is carried by the other", 15_000);
  started.kill("router-0", "SIGCONT");
  await converged(started, "by both again");
  expect(await routers()).toBe("2");
});
