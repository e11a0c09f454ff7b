// Owns: what a process knows of another one before it speaks to it, and the list of them. Elsewhere: where such lists
// come from (peers.ts), whether a peer is ready (Sync), what routers there are (the shard map).

import type { Component } from "../runtime/lifecycle.ts";
import type { Unlisten } from "./fleet.ts";

export type PeerRole = "operator" | "router" | "gateway" | "presence";

export interface PeerEndpoint {
  /** Of the place it runs in: pod or slot. One file a name. */
  readonly name: string;
  readonly role: PeerRole;
  readonly incarnation: string;
  /** 0: not of this machine. */
  readonly pid: number;
  /** `host:port` of its internal gRPC server. */
  readonly grpc: string;
  /** `host:port` of its probes. */
  readonly probes: string;
  readonly node: string;
  readonly zone: string;
}

export interface PeerDirectory extends Component {
  /** Peers of a role whose process lives, by name. */
  list(role: PeerRole): readonly PeerEndpoint[];
  /** Called after every change of what `list` answers. */
  onChange(listener: () => void): Unlisten;
}

const ROLES: readonly string[] = ["operator", "router", "gateway", "presence"] satisfies PeerRole[];

/** An endpoint as a file holds it, or undefined when it is none. */
export function parseEndpoint(value: unknown): PeerEndpoint | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { name, role, incarnation, pid, grpc, probes, node, zone } = value as Record<string, unknown>;
  if (!isText(name) || !isText(role) || !isText(incarnation) || !isText(grpc) || !isText(probes)) return undefined;
  if (typeof node !== "string" || typeof zone !== "string") return undefined;
  if (!ROLES.includes(role) || typeof pid !== "number" || !Number.isSafeInteger(pid) || pid < 1) return undefined;
  return { name, role: role as PeerRole, incarnation, pid, grpc, probes, node, zone };
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}
