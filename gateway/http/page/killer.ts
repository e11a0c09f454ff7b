// Owns: what kills a router for the page. Made by gateway/main.ts where there is a supervisor; asked by kill-route.ts.

import type { KillOutcome } from "#core/runtime/parent.ts";

/** Kills for the page, and knows it: every gateway of one start has the same nonce. */
export interface Killer {
  readonly nonce: string;
  /** Asks the supervisor to kill the router whose process this is. */
  kill(pid: number): Promise<KillOutcome>;
}
