// Owns: killing a router because the page's user wants to see what happens then: which ones may be, and how often. The
// supervisor alone does it, for gateways that ask (core/runtime/parent.ts). Invariant: the last router is never killed.

import type { KillOutcome } from "#core/runtime/parent.ts";
import type { Child } from "./child.ts";

/** Milliseconds between two: within them the killed one is started again and made standby as a rule. */
const PAUSE_MS = 2_000;

export class RouterKiller {
  readonly #routers: readonly Child[];
  readonly #nowMs: () => number;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(routers: readonly Child[], nowMs: () => number = () => performance.now()) {
    this.#routers = routers;
    this.#nowMs = nowMs;
  }

  kill(pid: number): KillOutcome {
    const ready = this.#routers.filter(({ state }) => state.kind === "ready");
    const router = ready.find((child) => child.process?.pid === pid);
    const nowMs = this.#nowMs();
    if (nowMs - this.#lastMs < PAUSE_MS) return "too_soon";
    if (router === undefined || ready.length < 2) return "only_one";
    this.#lastMs = nowMs;
    router.killOnPurpose();
    return "killed";
  }
}
