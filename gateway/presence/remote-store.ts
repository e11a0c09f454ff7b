// Owns: the presence store as a gateway reaches it in standalone mode: over gRPC, in whichever process announces itself as
// `presence` in the peers folder. Invariant: every call ends by its deadline; when there is no such process it rejects
// at once with presence_unavailable. Elsewhere: what is sent when (tracker.ts), what is decided (memory-store.ts).

import { create } from "@bufbuild/protobuf";
import type { PeerDirectory, PeerEndpoint } from "#core/fleet/peers.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { fromStatus, GrpcClient } from "#core/runtime/grpc.ts";
import type { PeerIdentity } from "#core/runtime/peer-identity.ts";
import {
  ApplyPresenceRequestSchema,
  ListMembersRequestSchema,
  PresenceStoreService,
  ReapRequestSchema,
  RenewLeaseRequestSchema,
} from "#proto/earshot/internal/v1/presence_pb.ts";
import { fromDecision, fromMember, fromReaped, toOperation } from "./codec.ts";
import type { PresenceEmptied, PresenceOperation, PresenceReaped, PresenceStore } from "./presence.ts";

/** Milliseconds a call may take before the store counts as gone. Lists have their callers' shorter deadline on top. */
const CALL_MS = 1_000;

interface Connection {
  readonly peer: PeerEndpoint;
  readonly client: GrpcClient;
}

interface HeldLease {
  readonly store: string;
  readonly id: string;
}

export class RemotePresenceStore implements PresenceStore {
  readonly #peers: PeerDirectory;
  readonly #identity: PeerIdentity;
  readonly #listeners = new Set<(why: PresenceEmptied) => void>();
  readonly #leases = new Map<string, HeldLease>();
  /** Incarnation of the store that gave the last lease. */
  #store: string | undefined;
  readonly #finders = new Set<() => void>();
  readonly #goneListeners = new Set<(gone: readonly PresenceReaped[]) => void>();
  readonly #unlisten: () => void;
  #connection: Connection | undefined;

  constructor(peers: PeerDirectory, identity: PeerIdentity) {
    this.#peers = peers;
    this.#identity = identity;
    this.#unlisten = peers.onChange(() => this.#follow());
    this.#follow();
  }

  onEmptied(listener: (why: PresenceEmptied) => void): void {
    this.#listeners.add(listener);
  }

  onFound(listener: () => void): void {
    this.#finders.add(listener);
  }

  onGone(listener: (gone: readonly PresenceReaped[]) => void): void {
    this.#goneListeners.add(listener);
  }

  async renewLease(gatewayIncarnation: string, ttlMs: number) {
    const { renewLease } = PresenceStoreService.method;
    const { storeIncarnation, leaseId } = await this.#call((client) =>
      client.unary(renewLease, create(RenewLeaseRequestSchema, { gatewayIncarnation, ttlMs }), CALL_MS),
    );
    this.#store = storeIncarnation;
    const before = this.#leases.get(gatewayIncarnation);
    this.#leases.set(gatewayIncarnation, { store: storeIncarnation, id: leaseId });
    if (before === undefined || (before.store === storeIncarnation && before.id === leaseId)) return;
    const why = before.store === storeIncarnation ? "lapsed" : "restarted";
    for (const listener of this.#listeners) listener(why);
  }

  async apply(gatewayIncarnation: string, operations: readonly PresenceOperation[], batch: number) {
    const lease = this.#leases.get(gatewayIncarnation);
    if (lease === undefined) throw unavailable("this gateway has no lease at the presence store yet");
    const { apply } = PresenceStoreService.method;
    const request = create(ApplyPresenceRequestSchema, {
      gatewayIncarnation,
      operations: operations.map(toOperation),
      batch: BigInt(batch),
      leaseId: leaseOf(lease),
    });
    const { decisions, refused } = await this.#call((client) => client.unary(apply, request, CALL_MS));
    if (refused || decisions.length !== operations.length) {
      throw unavailable("the presence store no longer knows this gateway");
    }
    return decisions.map(fromDecision);
  }

  async list(topicId: string, limit: number, cursor: string | undefined) {
    // A new store holds nothing until it was sent all again, which begins with a lease.
    const isNew = this.#store !== undefined && this.#store !== this.#connection?.peer.incarnation;
    if (isNew) throw unavailable("the presence store was started anew");
    const { listMembers } = PresenceStoreService.method;
    const request = create(ListMembersRequestSchema, { topicId, limit, cursor: cursor ?? "" });
    const answer = await this.#call((client) => client.unary(listMembers, request, CALL_MS)).catch(blameCursor);
    return {
      members: answer.members.map((member) => fromMember(topicId, member)),
      count: Number(answer.count),
      version: Number(answer.version),
      nextCursor: answer.nextCursor === "" ? undefined : answer.nextCursor,
    };
  }

  async reap() {
    const { reap } = PresenceStoreService.method;
    const { left } = await this.#call((client) => client.unary(reap, create(ReapRequestSchema), CALL_MS));
    if (left.length > 0) for (const listener of this.#goneListeners) listener(left.map(fromReaped));
  }

  close(): Promise<void> {
    this.#unlisten();
    this.#connection?.client.close();
    this.#connection = undefined;
    return Promise.resolve();
  }

  #follow(): void {
    const peer = this.#peers.list("presence")[0];
    const before = this.#connection;
    if (before !== undefined && before.peer.incarnation === peer?.incarnation && before.peer.grpc === peer.grpc) return;
    before?.client.close();
    if (peer === undefined) {
      this.#connection = undefined;
      return;
    }
    this.#connection = { peer, client: new GrpcClient(peer.grpc, this.#identity.toward("presence")) };
    for (const listener of this.#finders) listener();
  }

  async #call<T>(call: (client: GrpcClient) => Promise<T>): Promise<T> {
    if (this.#connection === undefined) throw unavailable("no presence store is running");
    try {
      return await call(this.#connection.client);
    } catch (error) {
      throw fromStatus(error, unavailable);
    }
  }
}

/** A lease id says which store gave it: ids of two stores never meet. */
function leaseOf({ store, id }: HeldLease): string {
  return `${store}/${id}`;
}

/** What a list call can have wrong is its cursor alone; fields do not cross the wire. */
function blameCursor(error: unknown): never {
  if (!(error instanceof EarshotError) || error.code !== "invalid_request") throw error;
  throw new EarshotError("invalid_request", error.message, { field: "cursor" });
}

function unavailable(message: string): EarshotError {
  return new EarshotError("presence_unavailable", message);
}
