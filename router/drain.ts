// Owns: how a router leaves without losing or doubling anything: it says so everywhere, goes on serving, and ends when
// the operator says that every process has acked a map without it (or no operator is there to say so), its publish
// streams have been idle, and every link has confirmed its last batch. Pure decision, then waiting.

import type { Clock } from "#core/runtime/clock.ts";
import type { Log } from "#core/runtime/log.ts";

export interface DrainView {
  /** The operator has released this router. */
  readonly released: boolean;
  readonly operatorConnected: boolean;
  /** Milliseconds since the last publish came over a stream; 0 while one is unanswered. */
  readonly publishesIdleMs: number;
  /** Links have confirmed everything, receipts are answered, changes of members are told. */
  readonly drained: boolean;
}

/** Milliseconds without a publish after which nobody sends here any more: everybody was told, and answers take less. */
const PUBLISHES_IDLE_MS = 500;

/** Milliseconds between looks. */
const LOOK_MS = 25;

/** Milliseconds that an operator may be gone (restarting) before it is not waited for. */
const OPERATOR_GONE_MS = 1_000;

/** What a draining router waits for; undefined when it may end. `operatorGoneMs`: for how long none was connected. */
export function waitsFor(view: DrainView, operatorGoneMs: number): "release" | "publishes" | "links" | undefined {
  if (!view.released && operatorGoneMs < OPERATOR_GONE_MS) return "release";
  if (view.publishesIdleMs < PUBLISHES_IDLE_MS) return "publishes";
  return view.drained ? undefined : "links";
}

export interface DrainOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly view: () => DrainView;
  readonly deadlineMs: number;
  /** Called at every look. */
  readonly push: () => void;
}

/** Resolves when the router may end, or when the deadline is over. */
export function drained({ clock, log, view, deadlineMs, push }: DrainOptions): Promise<void> {
  const startedAtMs = clock.monotonic();
  let operatorSeenAtMs = view().operatorConnected ? startedAtMs : Number.NEGATIVE_INFINITY;
  return new Promise((resolve) => {
    const timer = clock.every(LOOK_MS, () => {
      const nowMs = clock.monotonic();
      push();
      const seen = view();
      if (seen.operatorConnected) operatorSeenAtMs = nowMs;
      const reason = waitsFor(seen, nowMs - operatorSeenAtMs);
      const over = nowMs - startedAtMs >= deadlineMs;
      if (reason !== undefined && !over) return;
      timer.cancel();
      if (reason === undefined) log.info({ tookMs: Math.round(nowMs - startedAtMs) }, "router drained");
      else log.warn({ reason, deadlineMs }, "router not drained in time");
      resolve();
    });
  });
}
