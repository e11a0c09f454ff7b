// Owns: a shard map as a ShardMap object (crds/shardmaps.earshot.dev.yaml), which is what a file holds in standalone mode
// and what the Kubernetes API keeps. Pure. Elsewhere: where it is kept (file-shard-map-store.ts, kube-shard-map-store.ts).

import { create } from "@bufbuild/protobuf";
import type { ShardMap } from "#core/domain/shard-map.ts";
import { NO_ROUTER, shardMapFromProto, shardMapToProto } from "#core/fleet/shard-map-codec.ts";
import { ShardMapSchema } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { readCustomResource } from "../schema/crd.ts";
import { formatProblem } from "../schema/problem.ts";
import { StructuralSchema } from "../schema/structural.ts";

/** Without what the API server adds to its metadata. */
export interface ShardMapObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly epoch: number;
  readonly routers: readonly { incarnation: string; name: string; address: string; node: string; zone: string }[];
  readonly primaries: readonly number[];
  readonly standbys: readonly number[];
}

const RESOURCE = readCustomResource("shardmaps.earshot.dev");
const STRUCTURE = new StructuralSchema(RESOURCE.schema);

/** In the custom resource an index that names nobody. */
const NOBODY = -1;

/** Throws an Error that says what is wrong. */
export function parseShardMap(value: unknown): ShardMap {
  const [problem] = STRUCTURE.check(value);
  if (problem !== undefined) throw new Error(formatProblem(problem));
  const { epoch, routers, primaries, standbys } = value as ShardMapObject;
  const index = (place: number): number => (place === NOBODY ? NO_ROUTER : place);
  const parsed = shardMapFromProto(
    create(ShardMapSchema, {
      epoch: BigInt(epoch),
      routers: routers.map((router) => ({ ...router })),
      primaries: primaries.map(index),
      standbys: standbys.map(index),
    }),
  );
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.value;
}

export function formatShardMap(map: ShardMap, name: string): ShardMapObject {
  const { routers, primaries, standbys } = shardMapToProto(map);
  const index = (place: number): number => (place === NO_ROUTER ? NOBODY : place);
  return {
    apiVersion: RESOURCE.apiVersion,
    kind: RESOURCE.kind,
    metadata: { name },
    epoch: map.epoch,
    routers: routers.map(({ incarnation, name: router, address, node, zone }) => {
      return { incarnation, name: router, address, node, zone };
    }),
    primaries: primaries.map(index),
    standbys: standbys.map(index),
  };
}
