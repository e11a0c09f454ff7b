// Owns: serving the in-memory store to the gateways of one machine (PresenceStoreService). Input comes from processes of
// ours that hold the peer secret, so only sizes are checked. Elsewhere: what is decided (memory-store.ts).

import { create } from "@bufbuild/protobuf";
import { PRESENCE_PAGE_MAX } from "#core/domain/limits.ts";
import { type Clock, SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import type { Handlers } from "#core/runtime/grpc.ts";
import { Counter, type Registry, readCounter, readGauges } from "#core/runtime/metrics.ts";
import {
  ApplyPresenceResponseSchema,
  ListMembersResponseSchema,
  type PresenceStoreService,
  ReapResponseSchema,
  RenewLeaseResponseSchema,
} from "#proto/earshot/internal/v1/presence_pb.ts";
import { fromOperation, toDecision, toMember, toReaped } from "./codec.ts";
import { MemoryStore } from "./memory-store.ts";

/** Milliseconds a lease may last: a gateway that is gone must be noticed. */
const LEASE_MS_MAX = 60_000;

interface StoreServerOptions {
  /** Of this process: another one is another store. */
  readonly incarnation: string;
  readonly registry: Registry;
  readonly clock?: Clock;
}

/** Handlers of a store that is empty now. */
export function createStoreHandlers(options: StoreServerOptions): Handlers<typeof PresenceStoreService> {
  const { incarnation, registry, clock = SYSTEM_CLOCK } = options;
  const store = new MemoryStore({ startedAtMs: clock.monotonic(), firstVersion: clock.now() * 1_000 });
  const { applied, reaped } = createStoreMetrics(registry, store);
  return {
    apply: async ({ gatewayIncarnation, leaseId, batch, operations }) => {
      const [leaseStore, lease = ""] = leaseId.split("/");
      const decisions =
        leaseStore === incarnation
          ? store.apply(gatewayIncarnation, lease, Number(batch), operations.map(fromOperation), clock.monotonic())
          : undefined;
      applied(decisions?.length ?? 0);
      return create(ApplyPresenceResponseSchema, {
        decisions: decisions?.map(toDecision) ?? [],
        storeIncarnation: incarnation,
        refused: decisions === undefined,
      });
    },
    listMembers: async ({ topicId, limit, cursor }) => {
      const most = Math.min(Math.max(1, limit), PRESENCE_PAGE_MAX);
      const page = store.list(topicId, most, cursor === "" ? undefined : cursor, clock.monotonic());
      return create(ListMembersResponseSchema, {
        members: page.members.map(toMember),
        count: BigInt(page.count),
        version: BigInt(page.version),
        nextCursor: page.nextCursor ?? "",
      });
    },
    renewLease: async ({ gatewayIncarnation, ttlMs }) => {
      const leaseId = store.renewLease(gatewayIncarnation, Math.min(ttlMs, LEASE_MS_MAX), clock.monotonic());
      if (leaseId === undefined) throw new EarshotError("presence_unavailable", "too many gateways hold a lease");
      return create(RenewLeaseResponseSchema, { storeIncarnation: incarnation, leaseId });
    },
    reap: async () => {
      const left = store.reap(clock.monotonic());
      reaped(left.length);
      return create(ReapResponseSchema, { left: left.map(toReaped) });
    },
  };
}

function createStoreMetrics(registry: Registry, store: MemoryStore) {
  const registers = [registry];
  const operations = new Counter({
    name: "earshot_presence_store_operations_total",
    help: "Joins and leaves that this store applied.",
    registers,
  });
  const reaped = new Counter({
    name: "earshot_presence_store_reaped_total",
    help: "Users who were gone with their gateways.",
    registers,
  });
  const size = { name: "earshot_presence_store_size", help: "What this store holds, by kind.", label: "kind" };
  readGauges(registry, size, () => {
    const { refused: _, ...sizes } = store.sizes;
    return sizes;
  });
  const refused = "Joins not taken because this store was full.";
  readCounter(registry, "earshot_presence_store_refused_total", refused, () => store.sizes.refused);
  return {
    applied: (count: number) => operations.inc(count),
    reaped: (count: number) => reaped.inc(count),
  };
}
