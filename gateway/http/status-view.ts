// Owns: what `GET /api/v1/status` shows: the processes that take part on this machine, how the places do that have none now,
// and what this gateway knows of the fleet. Pure.

import type { Fleet } from "#core/fleet/fleet.ts";
import type { PeerEndpoint } from "#core/fleet/peers.ts";
import type { SlotReport } from "#core/runtime/parent.ts";
import { VERSION } from "#core/runtime/version.ts";

export interface StatusFacts {
  readonly fleet: Pick<Fleet, "map" | "topics" | "operatorConnected">;
  /** Those that have announced themselves and whose process lives. */
  readonly peers: readonly PeerEndpoint[];
  /** Undefined or empty: no supervisor answers. */
  readonly slots: readonly SlotReport[] | undefined;
}

export function statusSeen({ fleet, peers, slots = [] }: StatusFacts): Record<string, unknown> {
  const slotOf = (peer: PeerEndpoint): SlotReport | undefined => slots.find(({ name }) => name === peer.name);
  // The folder of peers is looked at once a second; the supervisor knows at once whose process has ended.
  const live = peers.filter(
    (peer) => (slotOf(peer)?.pid ?? peer.pid) === peer.pid && slotOf(peer)?.state !== "restarting",
  );
  return {
    version: VERSION,
    epoch: fleet.map.epoch,
    operator_connected: fleet.operatorConnected,
    topics: fleet.topics.size,
    processes: live.map((peer) => ({
      role: peer.role,
      name: peer.name,
      pid: peer.pid,
      incarnation: peer.incarnation,
      metrics: `http://${peer.probes}/metrics`,
      ...lifeSeen(slotOf(peer)),
    })),
    missing: slots
      .filter((slot) => !live.some(({ name }) => name === slot.name))
      .map((slot) => ({ role: slot.role, name: slot.name, pid: slot.pid ?? null, ...lifeSeen(slot) })),
  };
}

function lifeSeen(slot: SlotReport | undefined): Record<string, unknown> {
  const end = slot?.lastEnd;
  return {
    state: slot?.state ?? null,
    started_at: slot?.startedAtMs === undefined ? null : timeOf(slot.startedAtMs),
    restarts: slot?.restarts ?? null,
    last_end: end === undefined ? null : { code: end.code, signal: end.signal, at: timeOf(end.atMs) },
  };
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}
