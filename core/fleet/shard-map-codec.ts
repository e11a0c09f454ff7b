// Owns: the shard map on the wire. What comes in is checked whole before anything uses it: a map with a hole in it
// would lose publishes silently, so a malformed one is a reason (for a Nack) and the last good map stays.

import { create } from "@bufbuild/protobuf";
import { SHARD_COUNT } from "../domain/limits.ts";
import type { Router, ShardMap, ShardOwners } from "../domain/shard-map.ts";
import { type ShardMap as ProtoShardMap, ShardMapSchema } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import type { Parsed } from "./topic-codec.ts";

/** Stands in the wire's lists where a shard has no primary or no standby. */
export const NO_ROUTER = 0xffff_ffff;

/** Routers in one map: far above any fleet, and a bound for whoever reads one. */
const ROUTERS_MAX = 4096;

export function shardMapToProto(map: ShardMap): ProtoShardMap {
  const indices = new Map(map.routers.map((router, index) => [router.incarnation, index]));
  const indexAt = (place: number) => (owners: ShardOwners) => {
    const router = owners[place];
    return router === undefined ? NO_ROUTER : (indices.get(router.incarnation) ?? NO_ROUTER);
  };
  return create(ShardMapSchema, {
    epoch: BigInt(map.epoch),
    routers: map.routers.map(({ incarnation, name, address, node, zone }) => ({
      incarnation,
      name,
      address,
      node,
      zone,
    })),
    primaries: map.shards.map(indexAt(0)),
    standbys: map.shards.map(indexAt(1)),
  });
}

export function shardMapFromProto(proto: ProtoShardMap): Parsed<ShardMap> {
  if (proto.epoch < 1n || proto.epoch > BigInt(Number.MAX_SAFE_INTEGER)) return refuse(`epoch is ${proto.epoch}`);
  const routers = parseRouters(proto);
  if (!routers.ok) return routers;
  for (const [field, list] of [
    ["primaries", proto.primaries],
    ["standbys", proto.standbys],
  ] as const) {
    if (list.length !== SHARD_COUNT) return refuse(`${field} has ${list.length} entries, not ${SHARD_COUNT}`);
  }
  const shards: ShardOwners[] = [];
  const shared = new Map<string, ShardOwners>();
  for (let shard = 0; shard < SHARD_COUNT; shard++) {
    const primary = proto.primaries[shard] ?? NO_ROUTER;
    const standby = proto.standbys[shard] ?? NO_ROUTER;
    const key = `${primary}/${standby}`;
    const known = shared.get(key);
    if (known !== undefined) {
      shards.push(known);
      continue;
    }
    const owners = parseOwners(shard, [primary, standby], routers.value);
    if (!owners.ok) return owners;
    shared.set(key, owners.value);
    shards.push(owners.value);
  }
  return { ok: true, value: { epoch: Number(proto.epoch), routers: routers.value, shards } };
}

function parseRouters(proto: ProtoShardMap): Parsed<readonly Router[]> {
  if (proto.routers.length > ROUTERS_MAX) return refuse(`routers has ${proto.routers.length} entries`);
  const seen = new Set<string>();
  const routers: Router[] = [];
  for (const [index, { incarnation, name, address, node, zone }] of proto.routers.entries()) {
    if (incarnation === "") return refuse(`routers[${index}].incarnation is empty`);
    if (address === "") return refuse(`routers[${index}].address is empty`);
    if (seen.has(incarnation)) return refuse(`routers[${index}].incarnation ${incarnation} is there twice`);
    seen.add(incarnation);
    routers.push({ incarnation, name, address, node, zone });
  }
  return { ok: true, value: routers };
}

function parseOwners(shard: number, indices: readonly number[], routers: readonly Router[]): Parsed<ShardOwners> {
  const owners: Router[] = [];
  for (const index of indices) {
    if (index === NO_ROUTER) continue;
    const router = routers[index];
    if (router === undefined) return refuse(`shard ${shard} names router ${index} of ${routers.length}`);
    if (owners.includes(router)) return refuse(`shard ${shard} names router ${index} twice`);
    owners.push(router);
  }
  if (indices[0] === NO_ROUTER && owners.length > 0) return refuse(`shard ${shard} has a standby and no primary`);
  return { ok: true, value: owners };
}

function refuse(reason: string): { readonly ok: false; readonly reason: string } {
  return { ok: false, reason };
}
