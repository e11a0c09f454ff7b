// Owns: the picture of the ticker: the last ten seconds, a line for each tick where it was heard, as high as it took long, in
// the colour of the router that put it in order; a hole is silence. Kills are marked. Said in words beside it.

import { at } from "./dom.ts";
import type { Arrival } from "./failover.ts";

const SPAN_MS = 10_000;
/** Milliseconds between pictures; whoever wants less motion gets one a second. */
const DRAW_MS = 100;
const CALM_DRAW_MS = 1_000;
/** Milliseconds at the top of the picture; the scale is logarithmic from 1 ms. */
const TOOK_MS_MAX = 1_000;
/** Part of the height that the quickest tick has. */
const LEAST_PART = 0.18;

export class Chart {
  readonly #canvas = at("ticker-chart", HTMLCanvasElement);
  readonly #killsAtMs: number[] = [];
  /** Incarnations in the order in which they were first heard: they take the colours in turn. */
  readonly #routers: string[] = [];
  #timer: number | undefined;

  start(arrivals: readonly Arrival[]): void {
    this.stop();
    this.#canvas.hidden = false;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.#timer = setInterval(() => this.#draw(arrivals), calm ? CALM_DRAW_MS : DRAW_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  killed(atMs: number): void {
    this.#killsAtMs.push(atMs);
    if (this.#killsAtMs.length > SPAN_MS / 1_000) this.#killsAtMs.shift();
  }

  #draw(arrivals: readonly Arrival[]): void {
    const context = this.#canvas.getContext("2d");
    if (context === null) return;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    this.#canvas.width = Math.round(width * devicePixelRatio);
    this.#canvas.height = Math.round(height * devicePixelRatio);
    context.scale(devicePixelRatio, devicePixelRatio);
    const style = getComputedStyle(this.#canvas);
    const endsAtMs = performance.now();
    const place = (atMs: number): number => width * (1 - (endsAtMs - atMs) / SPAN_MS);
    for (const { atMs, tookMs, incarnation } of arrivals) {
      context.fillStyle = style.getPropertyValue(`--tick-${this.#turnOf(incarnation) % 2}`);
      const part =
        LEAST_PART + (1 - LEAST_PART) * Math.min(1, Math.log10(Math.max(1, tookMs)) / Math.log10(TOOK_MS_MAX));
      context.fillRect(place(atMs), height * (1 - part), 1.5, height * part);
    }
    context.fillStyle = style.getPropertyValue("--bad");
    for (const atMs of this.#killsAtMs) context.fillRect(place(atMs) - 1, 0, 2, height);
  }

  #turnOf(incarnation: string): number {
    const turn = this.#routers.indexOf(incarnation);
    if (turn >= 0) return turn;
    this.#routers.push(incarnation);
    // Two are enough to tell one from the next.
    if (this.#routers.length > 64) this.#routers.splice(0, 2);
    return this.#routers.length - 1;
  }
}
