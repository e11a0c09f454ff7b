import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join as joinPath } from "node:path";
import { expect, test } from "vitest";
import type { ShardMap } from "#core/domain/shard-map.ts";
import type { TestFleet } from "../harness/fleet.ts";
import { holds } from "../harness/holds.ts";
import { join, startOperator } from "../harness/operator-alone.ts";
import { ScriptedMember } from "../harness/scripted-member.ts";
import { until } from "../harness/until.ts";

function primaries(map: ShardMap | undefined, router: ScriptedMember): number {
  return map?.shards.filter((owners) => owners[0]?.incarnation === router.incarnation).length ?? 0;
}

function standbys(map: ShardMap | undefined, router: ScriptedMember): number {
  return map?.shards.filter((owners) => owners[1]?.incarnation === router.incarnation).length ?? 0;
}

function names(map: ShardMap | undefined): string {
  return (map?.routers ?? [])
    .map((router) => router.name)
    .sort()
    .join();
}

function seeLinks(gateway: ScriptedMember, alive: readonly ScriptedMember[], dead: readonly ScriptedMember[]): void {
  gateway.report({
    links: [
      ...alive.map(({ incarnation }) => ({ routerIncarnation: incarnation, alive: true })),
      ...dead.map(({ incarnation }) => ({ routerIncarnation: incarnation, alive: false })),
    ],
  });
}

function mapFile(fleet: TestFleet): string {
  return joinPath(fleet.stateFolder, "shard-map.json");
}

test("two routers share the shards, each the other's standby, and the map is stored before it is told", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  const [a, b] = [await join(fleet, "router", "router-0"), await join(fleet, "router", "router-1")];
  const map = await until(() => primaries(gateway.map, a) === 512 && gateway.map, "the shards are shared");
  expect([primaries(map, b), standbys(map, a), standbys(map, b)]).toEqual([512, 512, 512]);
  expect(map.epoch).toBeGreaterThan(Date.now() / 1_000 - 3_600);
  const stored = JSON.parse(readFileSync(mapFile(fleet), "utf8")) as { epoch: number };
  expect(stored.epoch).toBeGreaterThanOrEqual(map.epoch);
  await until(() => a.map?.epoch === map.epoch, "the routers are told the same map");
});

test("a router that comes later becomes primary only when every gateway has acked it as a standby", async () => {
  const fleet = await startOperator();
  const gateways = [await join(fleet, "gateway", "gateway-0"), await join(fleet, "gateway", "gateway-1")];
  const [gateway, slow] = gateways as [ScriptedMember, ScriptedMember];
  const first = await join(fleet, "router", "router-0");
  await until(() => primaries(gateway.map, first) === 1_024, "the first router has all shards");
  slow.acks = false;
  const second = await join(fleet, "router", "router-1");
  await until(() => standbys(gateway.map, second) === 1_024, "the second is a standby everywhere");
  expect(primaries(gateway.map, second)).toBe(0);
  const epoch = gateway.map?.epoch ?? 0;
  await holds(() => gateway.map?.epoch === epoch, "no map without the ack", 600);
  slow.acks = true;
  slow.ack(slow.map?.epoch ?? 0);
  await until(() => primaries(gateway.map, second) === 512, "and primary of half of them once the last gateway acked");
});

test("a gateway that never acks is given up on after 5 s, which is counted", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  const first = await join(fleet, "router", "router-0");
  await until(() => primaries(gateway.map, first) === 1_024, "the first router has all shards");
  gateway.acks = false;
  const startedMs = performance.now();
  const second = await join(fleet, "router", "router-1");
  await until(() => primaries(gateway.map, second) === 512, "the map goes on without the ack");
  expect(performance.now() - startedMs).toBeGreaterThan(4_900);
  expect(await fleet.metrics("operator-0")).toMatch(/earshot_operator_give_ups_total\{role="operator"\} [1-9]/);
});

test("when routers are killed one after the other and one comes back, every shard has a live owner soon each time", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  const a = await join(fleet, "router", "router-0");
  const b = await join(fleet, "router", "router-1");
  await until(() => primaries(gateway.map, a) === 512, "both carry shards");
  seeLinks(gateway, [a, b], []);
  await a.die();
  seeLinks(gateway, [b], [a]);
  await until(() => primaries(gateway.map, b) === 1_024 && names(gateway.map) === "router-1", "b carries all");
  await b.die();
  seeLinks(gateway, [], [a, b]);
  // Nobody is left: the last map stays.
  await holds(() => names(gateway.map) === "router-1", "the last map stays", 500);
  const c = await join(fleet, "router", "router-0");
  await until(
    () => primaries(gateway.map, c) === 1_024 && names(gateway.map) === "router-0",
    "the newcomer carries all",
  );
  const d = await join(fleet, "router", "router-1");
  await until(() => primaries(gateway.map, d) === 512, "and shares with the next");
});

test("killed all at once while the operator is new, routers are replaced by whoever comes", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  const old = [await join(fleet, "router", "router-0"), await join(fleet, "router", "router-1")];
  await until(() => names(gateway.map) === "router-0,router-1", "both are in the map");
  seeLinks(gateway, old, []);
  fleet.kill("operator-0");
  await fleet.ended("operator-0");
  for (const router of old) await router.die();
  await fleet.start("operator-0");
  await gateway.connect();
  // The gateway has not noticed yet.
  seeLinks(gateway, old, []);
  const fresh = [await join(fleet, "router", "router-0"), await join(fleet, "router", "router-1")];
  const living = new Set(fresh.map((router) => router.incarnation));
  await until(
    () => gateway.map?.shards.every((owners) => owners.some((owner) => living.has(owner.incarnation))) === true,
    "every shard has a live owner",
  );
  seeLinks(gateway, fresh, old);
  await until(
    () => gateway.map?.shards.every(([primary]) => living.has(primary?.incarnation ?? "")) === true,
    "that leads",
  );
  await until(() => gateway.map?.routers.length === 2, "and the dead are gone");
});

test("a router that drains hands over at once and is released when everybody acked a map without it", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  const a = await join(fleet, "router", "router-0");
  const b = await join(fleet, "router", "router-1");
  const c = await join(fleet, "router", "router-2");
  await until(() => primaries(gateway.map, c) >= 341, "three share the shards");
  const before = gateway.map;
  gateway.acks = false;
  a.report({ draining: true });
  await until(() => names(gateway.map) === "router-1,router-2", "the map is without it");
  for (const [shard, owners] of (gateway.map?.shards ?? []).entries()) {
    const [was, standby] = before?.shards[shard] ?? [];
    if (was?.incarnation === a.incarnation) expect(owners[0]?.incarnation).toBe(standby?.incarnation);
  }
  expect(a.released).toBe(false);
  gateway.acks = true;
  gateway.ack(gateway.map?.epoch ?? 0);
  await until(() => a.released, "it may go");
  expect([b.released, c.released]).toEqual([false, false]);
});

test("an operator that is new waits for the acks of a drained router's last map as the one before did", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  const [a, b] = [await join(fleet, "router", "router-0"), await join(fleet, "router", "router-1")];
  await until(() => names(gateway.map) === "router-0,router-1", "both are in the map");
  gateway.acks = false;
  a.report({ draining: true });
  await until(() => names(gateway.map) === "router-1", "the map is without it");
  fleet.kill("operator-0");
  await fleet.ended("operator-0");
  await fleet.start("operator-0");
  for (const member of [b, gateway, a]) await member.connect();
  a.report({ draining: true });
  await holds(() => !a.released, "it is not released", 600);
  gateway.ack(gateway.map?.epoch ?? 0);
  await until(() => a.released, "it may go");
});

test("routers that all drain go on until somebody takes over", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  const old = [await join(fleet, "router", "router-0"), await join(fleet, "router", "router-1")];
  await until(() => names(gateway.map) === "router-0,router-1", "both are in the map");
  for (const router of old) router.report({ draining: true });
  await holds(() => names(gateway.map) === "router-0,router-1", "they stay in the map", 400);
  const fresh = await join(fleet, "router", "router-2");
  await until(() => primaries(gateway.map, fresh) === 1_024, "the newcomer takes over");
  await until(() => old.every((router) => router.released), "and they may go");
});

test("a router that most gateways cannot reach leaves the map though its stream lives", async () => {
  const fleet = await startOperator();
  const gateways = [];
  for (const name of ["gateway-0", "gateway-1", "gateway-2"]) gateways.push(await join(fleet, "gateway", name));
  const [one, two, three] = gateways as [ScriptedMember, ScriptedMember, ScriptedMember];
  const a = await join(fleet, "router", "router-0");
  const b = await join(fleet, "router", "router-1");
  await until(() => names(one.map) === "router-0,router-1", "both are in the map");
  seeLinks(one, [b], [a]);
  for (const gateway of [two, three]) seeLinks(gateway, [a, b], []);
  await holds(() => primaries(one.map, a) === 512, "one of three is no majority", 3_600);
  seeLinks(two, [b], [a]);
  await until(() => primaries(one.map, b) === 1_024, "two of three are: its shards go to the other");
});

test("the epoch only grows: over restarts, a deleted map, a spoiled one, and a process that has seen a higher one", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  const router = await join(fleet, "router", "router-0");
  const epochs = [await until(() => gateway.map?.epoch, "the first map")];
  const restart = async (): Promise<void> => {
    fleet.kill("operator-0");
    await fleet.ended("operator-0");
    await fleet.start("operator-0");
    gateway.map = undefined;
    await gateway.connect();
    await router.connect();
  };
  await restart();
  expect(await until(() => gateway.map?.epoch, "the stored map is served")).toBe(epochs[0]);

  rmSync(mapFile(fleet));
  await restart();
  epochs.push(await until(() => (gateway.map?.epoch ?? 0) > (epochs[0] ?? 0) && gateway.map?.epoch, "a map made anew"));

  writeFileSync(mapFile(fleet), "{ half a ma");
  await restart();
  epochs.push(
    await until(() => (gateway.map?.epoch ?? 0) > (epochs[1] ?? 0) && gateway.map?.epoch, "and after a spoiled one"),
  );
  expect(fleet.notices.at(-1)).toContain("shard-map.json cannot be read");
  expect(readdirSync(fleet.stateFolder).some((name) => name.startsWith("shard-map.json.corrupt-"))).toBe(true);

  const far = (epochs[2] ?? 0) + 1_000_000;
  await join(fleet, "gateway", "gateway-1", { epoch: far });
  await until(() => (gateway.map?.epoch ?? 0) > far, "a map above what another process has seen");
});

test("a map that cannot be stored is not told; the last one stays, it is said once, and tried again", async () => {
  const fleet = await startOperator();
  const gateway = await join(fleet, "gateway", "gateway-0");
  const a = await join(fleet, "router", "router-0");
  await until(() => primaries(gateway.map, a) === 1_024, "the first map");
  const { stateFolder } = fleet;
  const epoch = gateway.map?.epoch;
  // A state folder that takes no new file, as on a full disk.
  renameSync(mapFile(fleet), joinPath(fleet.folder, "map.aside"));
  renameSync(stateFolder, joinPath(fleet.folder, "state.aside"));
  writeFileSync(stateFolder, "in the way");
  const peers = joinPath(fleet.folder, "state.aside", "run");
  const b = new ScriptedMember({ role: "router", name: "router-1", peersFolder: peers });
  b.announce();
  await b.connect();
  await until(() => fleet.notices.some((text) => text.includes("the shard map cannot be kept")), "it is told");
  expect(gateway.map?.epoch).toBe(epoch);
  rmSync(stateFolder);
  renameSync(joinPath(fleet.folder, "state.aside"), stateFolder);
  renameSync(joinPath(fleet.folder, "map.aside"), mapFile(fleet));
  await until(() => standbys(gateway.map, b) > 0, "the next map goes out");
  expect(fleet.notices.filter((text) => text.includes("the shard map cannot be kept"))).toHaveLength(1);
  b.disconnect();
});
