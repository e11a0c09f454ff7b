// Owns: asking every process whether its event loop turns, as a kubelet would (every 5 s, six times), and ending what
// does not answer; its slot then starts it again. Where a process listens for that is in the peers folder.

import type { PeerDirectory } from "#core/fleet/peers.ts";
import { SYSTEM_CLOCK, type Timer } from "#core/runtime/clock.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { Child } from "./child.ts";

/** How patient it is. Every 5 s, six times: 30 s, so that no pause of a busy machine ends anything. */
export interface Patience {
  readonly intervalMs: number;
  /** Milliseconds an answer may take: a kubelet's default is one second. */
  readonly answerMs: number;
  /** Answers missed in a row until a process is ended. */
  readonly missedMax: number;
}

const AS_A_KUBELET: Patience = { intervalMs: 5_000, answerMs: 1_000, missedMax: 6 };

export class Liveness implements Component {
  readonly #children: readonly Child[];
  readonly #peers: PeerDirectory;
  readonly #log: Log;
  readonly #patience: Patience;
  /** Answers missed in a row, by process id. */
  readonly #missed = new Map<number, number>();
  readonly #timer: Timer;
  #asking = false;

  constructor(children: readonly Child[], peers: PeerDirectory, log: Log, patience = AS_A_KUBELET) {
    this.#children = children;
    this.#peers = peers;
    this.#log = log;
    this.#patience = patience;
    this.#timer = SYSTEM_CLOCK.every(patience.intervalMs, () => void this.#askAll());
  }

  /** Whether a process answered when it was last asked, or was not asked yet. */
  answers(child: Child): boolean {
    return (this.#missed.get(child.process?.pid ?? 0) ?? 0) === 0;
  }

  async close(): Promise<void> {
    this.#timer.cancel();
  }

  async #askAll(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    const alive = new Set(this.#children.map((child) => child.process?.pid));
    for (const pid of this.#missed.keys()) if (!alive.has(pid)) this.#missed.delete(pid);
    await Promise.all(this.#children.map((child) => this.#ask(child)));
    this.#asking = false;
  }

  async #ask(child: Child): Promise<void> {
    const pid = child.process?.pid;
    const peer = this.#peers.list(child.slot.role).find((candidate) => candidate.pid === pid);
    if (pid === undefined || peer === undefined) return;
    if (await answersInTime(peer.probes, this.#patience.answerMs)) {
      this.#missed.delete(pid);
      return;
    }
    const missed = (this.#missed.get(pid) ?? 0) + 1;
    this.#missed.set(pid, missed);
    if (missed < this.#patience.missedMax || child.process?.pid !== pid) return;
    this.#log.error({ process: child.slot.name, pid, missed }, "process does not answer and is ended");
    child.kill("SIGKILL");
  }
}

async function answersInTime(address: string, limitMs: number): Promise<boolean> {
  try {
    const response = await fetch(`http://${address}/healthz`, { signal: AbortSignal.timeout(limitMs) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}
