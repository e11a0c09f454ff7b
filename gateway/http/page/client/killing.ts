// Owns: the two calls about a kill: asking for it (standalone mode only), and looking whether the router runs again.
// Elsewhere: who may ask (gateway/http/page/local-only.ts), what it did to messages (failover.ts).

import type { KilledRouter } from "./failover.ts";

/** Milliseconds between looks at the processes. */
const LOOK_MS = 250;
/** Milliseconds of looking: a process that fails to start is tried again for as long and longer. */
const LOOK_FOR_MS = 30_000;

export interface KillOptions {
  readonly base: URL;
  /** Proves to the server that its own page asks. */
  readonly nonce: string;
  readonly token: string;
}

export type KillAnswer =
  | { readonly kind: "killed"; readonly router: KilledRouter }
  | { readonly kind: "refused"; readonly why: string };

/** Kills the router that carries a topic. */
export async function killRouter(topicId: string, { base, nonce, token }: KillOptions): Promise<KillAnswer> {
  try {
    const response = await fetch(new URL("api/v1/standalone/kill-router", base), {
      method: "POST",
      headers: { "content-type": "application/json", "x-earshot-kill": nonce, ...bearer(token) },
      body: JSON.stringify({ topic_id: topicId }),
    });
    if (response.ok) return { kind: "killed", router: (await response.json()) as KilledRouter };
    const problem = (await response.json()) as { detail?: string; title?: string };
    return { kind: "refused", why: problem.detail ?? problem.title ?? `status ${response.status}` };
  } catch {
    return { kind: "refused", why: "the gateway did not answer" };
  }
}

/** Milliseconds until the router's place has another process; undefined: not while it was looked. */
export async function untilRunning(killed: KilledRouter, { base, token }: KillOptions): Promise<number | undefined> {
  const startedAtMs = performance.now();
  while (performance.now() - startedAtMs < LOOK_FOR_MS) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    if (await isAgainThere(killed, base, token)) return performance.now() - startedAtMs;
  }
  return undefined;
}

async function isAgainThere({ name, pid }: KilledRouter, base: URL, token: string): Promise<boolean> {
  try {
    const response = await fetch(new URL("api/v1/status", base), { headers: bearer(token) });
    const { processes } = (await response.json()) as { processes: readonly { name: string; pid: number }[] };
    return processes.some((one) => one.name === name && one.pid !== pid);
  } catch {
    return false;
  }
}

function bearer(token: string): Record<string, string> {
  return token === "" ? {} : { authorization: `Bearer ${token}` };
}
