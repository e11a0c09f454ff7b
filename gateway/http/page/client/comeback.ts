// Owns: what the page does after a close: come back, and when, or stay away, and why. Pure; connection.ts acts on it.
// The table of close codes is the servers' own; the times are those of docs/protocol.md, "Writing a client".

import { CLOSES, type CloseEntry } from "#core/domain/closes.ts";

/** Milliseconds to wait at most before the first try; the bound doubles from here. */
const FIRST_BOUND_MS = 1_000;
const BOUND_MS_MAX = 30_000;

export interface Close {
  readonly code: number;
  /** Milliseconds left of the `delay_ms` of a `reconnect`; undefined: there was none. */
  readonly toldDelayMs: number | undefined;
  /** Closes in a row without a subscription between them. */
  readonly failures: number;
  /** 0 <= random < 1. */
  readonly random: number;
}

export type Comeback =
  | { readonly kind: "after"; readonly delayMs: number; readonly why: string }
  /** The same client doing the same would be closed again. */
  | { readonly kind: "never"; readonly why: string };

export function comebackOf({ code, toldDelayMs, failures, random }: Close): Comeback {
  const entry = (CLOSES as Readonly<Record<number, CloseEntry>>)[code];
  const why = entry === undefined ? "the connection broke" : `closed ${code}: ${entry.meaning}`;
  if (entry?.comeBack === "no" || entry?.comeBack === "with_new_token") return { kind: "never", why };
  if (toldDelayMs !== undefined) return { kind: "after", delayMs: Math.max(0, toldDelayMs), why };
  // Full jitter: when a gateway dies, its clients do not come back all at once.
  const boundMs = Math.min(BOUND_MS_MAX, FIRST_BOUND_MS * 2 ** Math.min(failures, 10));
  return { kind: "after", delayMs: random * boundMs, why };
}
