// Owns: a call that somebody cannot begin without: made again, with longer and longer waits, for as long as the API server is
// away. What it refuses is refused.

import { Backoff } from "#core/runtime/backoff.ts";
import type { Clock } from "#core/runtime/clock.ts";
import type { Log } from "#core/runtime/log.ts";
import { KubeError } from "./api.ts";

/** Between tries; the longest is how late one may see that the API server is back. */
const BACKOFF = { firstMs: 200, maxMs: 10_000 };

export async function patiently<T>(call: () => Promise<T>, { clock, log }: { clock: Clock; log: Log }): Promise<T> {
  const backoff = new Backoff(BACKOFF);
  for (let isFirst = true; ; isFirst = false) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof KubeError) || !error.unavailable || error.reason === "Closed") throw error;
      if (isFirst) log.warn({ error: error.message }, "API server is away, waiting for it");
      const waitMs = Math.max(backoff.next(), error.retryAfterMs ?? 0);
      await new Promise<void>((resolve) => clock.after(waitMs, resolve));
    }
  }
}
