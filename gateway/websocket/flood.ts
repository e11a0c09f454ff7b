// Owns: what happens to a client that talks too much: beyond its bucket frames are dropped, one error a second says so, and
// the first of them after ten such seconds in a row ends the connection. Pure but for the time passed in.

import { CONTROL_FLOOD_SECONDS } from "#core/domain/limits.ts";
import { TokenBucket } from "#core/runtime/token-bucket.ts";

type FloodVerdict =
  | "pass"
  /** Dropped, and it was told this second already. */
  | "drop"
  /** Dropped, and it is to be told. */
  | "tell"
  /** To be ended (4429). */
  | "end";

export class Flood {
  readonly #bucket: TokenBucket;
  /** The last second in which frames were dropped, and how many in a row that makes. */
  #second = -2;
  #inARow = 0;

  constructor(perSecond: number, burst: number, nowMs: number) {
    this.#bucket = new TokenBucket(perSecond, burst, nowMs);
  }

  /** Judges one frame. `nowMs` is monotonic. */
  judge(nowMs: number): FloodVerdict {
    if (this.#bucket.take(nowMs)) return "pass";
    const second = Math.floor(nowMs / 1_000);
    if (second === this.#second) return "drop";
    this.#inARow = second === this.#second + 1 ? this.#inARow + 1 : 1;
    this.#second = second;
    return this.#inARow > CONTROL_FLOOD_SECONDS ? "end" : "tell";
  }
}
