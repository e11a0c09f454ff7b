// Owns: a directory of peers that tests fill by hand.

import type { PeerDirectory, PeerEndpoint, PeerRole } from "#core/fleet/peers.ts";

export class HandPeers implements PeerDirectory {
  #peers: readonly PeerEndpoint[] = [];
  readonly #listeners = new Set<() => void>();

  list(role: PeerRole): readonly PeerEndpoint[] {
    return this.#peers.filter((peer) => peer.role === role);
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  set(peers: readonly PeerEndpoint[]): void {
    this.#peers = peers;
    for (const listener of this.#listeners) listener();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

export function peerAt(role: PeerRole, incarnation: string, grpc: string): PeerEndpoint {
  const name = `${role}-${incarnation}`;
  return { name, role, incarnation, pid: process.pid, grpc, probes: "127.0.0.1:1", node: "", zone: "" };
}
