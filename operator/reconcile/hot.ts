// Owns: when a Topic is Hot: on as soon as a topic id of it has very many subscriptions, off when all have had clearly
// fewer for a while, and at most one change a minute, since each is a write. Pure.

export interface HotState {
  readonly hot: boolean;
  /** Monotonic milliseconds since when it has been clearly below; undefined: it is not. */
  readonly belowSinceMs: number | undefined;
  /** Monotonic milliseconds of the last change. */
  readonly changedMs: number;
}

export interface HotThresholds {
  /** Subscriptions from which a Topic is hot. */
  readonly on: number;
  /** Below which, for HOT_OFF_AFTER_MS, it no longer is. */
  readonly off: number;
}

/** Milliseconds below the lower threshold that end it. */
const HOT_OFF_AFTER_MS = 60_000;

/** Milliseconds between two changes of one Topic. */
const HOT_CHANGE_MS = 60_000;

/** `subscriptions`: of its largest topic id; 0 when no router reports it. Undefined when there is nothing to remember. */
export function nextHot(
  state: HotState | undefined,
  subscriptions: number,
  nowMs: number,
  { on, off }: HotThresholds,
): HotState | undefined {
  const isFree = state === undefined || nowMs - state.changedMs >= HOT_CHANGE_MS;
  if (subscriptions >= on) {
    if (state?.hot === true) return { ...state, belowSinceMs: undefined };
    return isFree ? { hot: true, belowSinceMs: undefined, changedMs: nowMs } : state;
  }
  if (state === undefined || !state.hot) return isFree ? undefined : state;
  if (subscriptions >= off) return { ...state, belowSinceMs: undefined };
  const belowSinceMs = state.belowSinceMs ?? nowMs;
  const isOver = nowMs - belowSinceMs >= HOT_OFF_AFTER_MS && isFree;
  return isOver ? { hot: false, belowSinceMs: undefined, changedMs: nowMs } : { ...state, belowSinceMs };
}
