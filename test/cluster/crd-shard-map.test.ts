// The ShardMap at a real API server: what a map may be, and the rule that protects the fleet from two maps of one epoch.

import { beforeAll, expect, test } from "vitest";
import { SHARD_COUNT } from "#core/domain/limits.ts";
import type { KubeResponse } from "../harness/kube-access.ts";
import { apiServer, makeNamespace } from "../harness/kube-cluster.ts";
import { causesOf, TOPICS_API } from "../harness/kube-topics.ts";
import { withValue } from "../harness/schema-bounds.ts";

const api = apiServer();
let path = "";

beforeAll(async () => {
  path = `${TOPICS_API}/namespaces/${await makeNamespace(api, "shardmaps")}/shardmaps`;
});

type Map = Readonly<Record<string, unknown>>;

function mapOf(name: string, epoch: number, primary = 0, standby = -1): Map {
  return {
    apiVersion: "earshot.dev/v1alpha1",
    kind: "ShardMap",
    metadata: { name },
    epoch,
    routers: [
      { incarnation: "a", name: "router-a", address: "10.0.0.1:7001", node: "node-1", zone: "a" },
      { incarnation: "b", name: "router-b", address: "10.0.0.2:7001", node: "node-2", zone: "b" },
    ],
    primaries: Array.from({ length: SHARD_COUNT }, () => primary),
    standbys: Array.from({ length: SHARD_COUNT }, () => standby),
  };
}

async function make(map: Map): Promise<string> {
  const { status, body } = await api.call("POST", path, map);
  expect(status, JSON.stringify(body).slice(0, 500)).toBe(201);
  return (body as { metadata: { resourceVersion: string } }).metadata.resourceVersion;
}

/** A write as the operator does it: only over the version that it knows. */
function replace(map: Map, resourceVersion: string): Promise<KubeResponse> {
  const { name } = map["metadata"] as { name: string };
  return api.call("PUT", `${path}/${name}`, { ...map, metadata: { name, resourceVersion } });
}

function versionOf({ status, body }: KubeResponse): string {
  expect(status, JSON.stringify(body).slice(0, 500)).toBe(200);
  return (body as { metadata: { resourceVersion: string } }).metadata.resourceVersion;
}

test("the same epoch cannot have other content, whatever of it is other", async () => {
  const map = mapOf("same", 5);
  const version = await make(map);
  for (const other of [
    mapOf("same", 5, 1),
    mapOf("same", 5, 0, 1),
    withValue(map, ["routers", 0, "address"], "10.0.0.9:7001") as Map,
    withValue(map, ["routers", 1, "zone"], "c") as Map,
    withValue(map, ["primaries", 1023], 1) as Map,
  ]) {
    expect(causesOf(await replace(other, version)).map(({ field, message }) => `${field}: ${message}`)).toEqual([
      expect.stringMatching(/^epoch: .*the same epoch cannot have other content; a changed map needs a higher epoch$/),
    ]);
  }
  expect(versionOf(await replace(map, version))).toBe(version);
});

test("a higher epoch may have any content, a restored lower one too", async () => {
  let version = await make(mapOf("moves", 5));
  version = versionOf(await replace(mapOf("moves", 6, 1), version));
  version = versionOf(await replace(mapOf("moves", 5, 1, 0), version));
  expect(versionOf(await replace(mapOf("moves", 1_800_000_000, 0), version))).not.toBe(version);
});

test("of two writers over one version the second is refused", async () => {
  const version = await make(mapOf("raced", 5));
  versionOf(await replace(mapOf("raced", 6, 1), version));
  expect(await replace(mapOf("raced", 7, 0), version)).toMatchObject({ status: 409, body: { reason: "Conflict" } });
});

test("a map deleted and made anew begins with any epoch", async () => {
  await make(mapOf("anew", 5));
  expect((await api.call("DELETE", `${path}/anew`)).status).toBe(200);
  await make(mapOf("anew", 5, 1));
});

test.for<[what: string, path: readonly (string | number)[], value: unknown, field: string]>([
  ["an epoch of 0", ["epoch"], 0, "epoch"],
  ["1,023 primaries", ["primaries"], Array(SHARD_COUNT - 1).fill(0), "primaries"],
  ["1,025 standbys", ["standbys"], Array(SHARD_COUNT + 1).fill(0), "standbys"],
  ["a primary that is no router", ["primaries", 7], 2, "primaries"],
  ["a standby that is no router", ["standbys", 7], 2, "standbys"],
  ["a primary below -1", ["primaries", 7], -2, "primaries[7]"],
  ["a router without an address", ["routers", 1], { incarnation: "b", name: "b" }, "routers[1].address"],
  ["a router with an empty name", ["routers", 1, "name"], "", "routers[1].name"],
  ["more than 1,024 routers", ["routers"], Array(1025).fill({ incarnation: "a", name: "a", address: "a" }), "routers"],
])("%s is refused", async ([, at, value, field]) => {
  const refused = await api.call("POST", `${path}?dryRun=All`, withValue(mapOf("wrong", 5), at, value));
  expect(refused.status).toBe(422);
  expect(causesOf(refused).map((cause) => cause.field)).toContain(field);
});

test("1,024 routers with the longest names are one object, which can be replaced", async () => {
  const routers = Array.from({ length: 1024 }, (_, index) => ({
    incarnation: String(index).padStart(32, "0"),
    name: "n".repeat(63),
    address: "a".repeat(45),
    node: "n".repeat(63),
    zone: "z".repeat(16),
  }));
  const large: Map = { ...mapOf("large", 5, 1023, 1022), routers };
  const version = await make(large);
  versionOf(await replace({ ...large, epoch: 6, primaries: large["standbys"] }, version));
});

test("columns show the epoch", async () => {
  await make(mapOf("shown", 1_795_546_251));
  const shown = await api.kubectl(["get", "--raw", `${path}/shown`]);
  expect(JSON.parse(shown)).toMatchObject({ epoch: 1_795_546_251 });
  const [, , namespace = ""] = path.match(/(namespaces)\/([^/]+)/) ?? [];
  const rows = await api.kubectl(["get", "shardmaps", "shown", "-n", namespace]);
  expect(`\n${rows.replaceAll(/ \d+s$/gm, " 0s")}`).toBe(`
NAME    EPOCH        AGE
shown   1795546251   0s
`);
});
