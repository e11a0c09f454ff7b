// Owns: time, so that tests can hold it in their hand. `now` is wall-clock milliseconds since the epoch (may jump: only
// for what users read and for token expiry), `monotonic` never goes back (for every interval and deadline).

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Milliseconds since some start; never goes back. */
  monotonic(): number;
  after(delayMs: number, action: () => void): Timer;
  every(intervalMs: number, action: () => void): Timer;
}

/** The real one. Its timers do not keep the process alive: servers and streams do. */
export const SYSTEM_CLOCK: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, action) {
    const handle = setTimeout(action, delayMs).unref();
    return { cancel: () => clearTimeout(handle) };
  },
  every(intervalMs, action) {
    const handle = setInterval(action, intervalMs).unref();
    return { cancel: () => clearInterval(handle) };
  },
};
