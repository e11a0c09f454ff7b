// Owns: the frames a process sends on a Sync stream, and the member list it gets, in our words. Pure.
// Elsewhere: shard map and Topics on the wire (shard-map-codec.ts, topic-codec.ts).

import { create } from "@bufbuild/protobuf";
import {
  EpochAckSchema,
  HelloSchema,
  type Members,
  ReportSchema,
  Role,
} from "#proto/earshot/internal/v1/control_plane_pb.ts";
import type { FleetMember } from "./fleet.ts";
import type { SyncFrame } from "./sync-stream.ts";

export const SYNC_PROTOCOL_VERSION = 1;

/** This process as its Hello names it. */
export interface SyncSelf {
  readonly incarnation: string;
  readonly role: "router" | "gateway" | "presence";
  readonly name: string;
  readonly node: string;
  readonly zone: string;
  /** `host:port` of the internal gRPC server; routers only, else empty. */
  readonly address: string;
}

/** What the owner of a process adds to its reports; readiness and epoch are known here. */
export interface ReportParts {
  readonly draining?: boolean;
  readonly links?: readonly { readonly routerIncarnation: string; readonly alive: boolean }[];
  readonly hotTopics?: readonly { readonly topic: string; readonly subscriptions: number }[];
}

const ROLES = {
  operator: Role.OPERATOR,
  router: Role.ROUTER,
  gateway: Role.GATEWAY,
  presence: Role.PRESENCE,
} as const satisfies Record<FleetMember["role"], Role>;

const WORDS = new Map(Object.entries(ROLES).map(([word, role]) => [role as number, word as FleetMember["role"]]));

/** What a Hello says besides who speaks. */
export interface HelloState {
  readonly epoch: number;
  readonly wantsTopics: boolean;
  readonly ready: boolean;
}

export function helloFrame(self: SyncSelf, state: HelloState): SyncFrame {
  const value = create(HelloSchema, {
    ...self,
    ...state,
    protocolVersion: SYNC_PROTOCOL_VERSION,
    role: ROLES[self.role],
    epoch: BigInt(state.epoch),
  });
  return { case: "hello", value };
}

/** What a report says that is known here. */
export interface ReportState {
  readonly ready: boolean;
  readonly epoch: number;
  readonly topicsRevision: bigint;
}

export function reportFrame(parts: ReportParts, { ready, epoch, topicsRevision }: ReportState): SyncFrame {
  const { draining = false, links = [], hotTopics = [] } = parts;
  const value = create(ReportSchema, {
    ready,
    draining,
    links: links.map(({ routerIncarnation, alive }) => ({ routerIncarnation, alive })),
    hotTopics: hotTopics.map(({ topic, subscriptions }) => ({ topic, subscriptions: BigInt(subscriptions) })),
    epoch: BigInt(epoch),
    topicsRevision,
  });
  return { case: "report", value };
}

export function ackFrame(epoch: number): SyncFrame {
  return { case: "epochAck", value: create(EpochAckSchema, { epoch: BigInt(epoch) }) };
}

/** Roles of a newer version are left out: nothing here could do anything with them. */
export function membersFromProto(members: Members): readonly FleetMember[] {
  return members.processes.flatMap(({ incarnation, role, name }) => {
    const word = WORDS.get(role);
    return word === undefined ? [] : [{ incarnation, role: word, name }];
  });
}

export function membersToProto(members: readonly FleetMember[]): Members["processes"][number][] {
  return members.map(({ incarnation, role, name }) => ({ $typeName: MEMBER, incarnation, role: ROLES[role], name }));
}

const MEMBER = "earshot.internal.v1.MemberProcess";
