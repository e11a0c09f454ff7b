// Owns: what a process knows of its fleet, as its other rooms see it: Topics, the shard map in force, who is alive.
// Made by core/fleet/sync-client.ts; read everywhere, written by nobody else.

import type { ShardMap } from "../domain/shard-map.ts";
import type { Topic } from "../domain/topic.ts";
import type { MutateTopicRequest, MutateTopicResponse } from "#proto/earshot/internal/v1/control_plane_pb.ts";

export type Unlisten = () => void;

/** One change of the Topics: `before` undefined when it is new, `after` undefined when it is gone. */
export interface TopicChange {
  readonly key: string;
  readonly before: Topic | undefined;
  readonly after: Topic | undefined;
}

export interface FleetMember {
  readonly incarnation: string;
  readonly role: "operator" | "router" | "gateway" | "presence";
  readonly name: string;
}

export interface Fleet {
  /** The Topic of a key (`<namespace>.<name>`), or undefined. */
  topic(key: string): Topic | undefined;
  /** Every Topic; the map is live and belongs to the fleet. */
  readonly topics: ReadonlyMap<string, Topic>;
  /** Largest maxMessageBytes of all Topics (the default where there are none): bounds frames and bodies. */
  readonly largestMessageBytes: number;
  readonly map: ShardMap;
  readonly members: readonly FleetMember[];
  /** Whether a complete list of Topics and a map were ever received. */
  readonly synced: boolean;
  /** Whether an operator is connected now. */
  readonly operatorConnected: boolean;
  onTopic(listener: (change: TopicChange) => void): Unlisten;
  onMap(listener: (map: ShardMap, before: ShardMap) => void): Unlisten;
  onMembers(listener: (members: readonly FleetMember[]) => void): Unlisten;
  /** Asks the operator to change a Topic. Throws control_plane_unavailable when none answers. */
  mutateTopic(request: MutateTopicRequest): Promise<MutateTopicResponse>;
}
