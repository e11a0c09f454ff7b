// Owns: whether this router may answer "nobody listens". Cold is a router that has just started, or was frozen and so
// lost its links: until every live gateway has linked with its whole interest, or was given up on, it refuses such
// publishes (wrong_router), and the next in the list answers. Pure but for the time that is passed in.
// A gateway that comes or goes later makes nobody cold: it is told `gap` `late_interest` where it missed something.

export interface WarmthOptions {
  readonly startedAtMs: number;
  /** Incarnations of live gateways, as the operator names them; undefined while it has not said. */
  readonly gateways: () => readonly string[] | undefined;
  /** Whether a gateway is linked and its whole interest known. */
  readonly complete: (gatewayIncarnation: string) => boolean;
}

/** Milliseconds a live gateway may take to link: one that does not is as good as dead. */
export const GIVE_UP_MS = 5_000;

/** Milliseconds between ticks, and how late one may be before this process counts as having been frozen. */
export const WARMTH_TICK_MS = 250;
const FROZEN_MS = 1_000;

/** Milliseconds after a freeze until links that ended meanwhile are known to have. */
const THAW_MS = 500;

type State =
  /** In no map yet: no gateway can know of this router. */
  | { readonly kind: "unlisted" }
  | { readonly kind: "cold"; readonly sinceMs: number; readonly judgedFromMs: number }
  | { readonly kind: "warm" };

export class Warmth {
  readonly #options: WarmthOptions;
  #state: State = { kind: "unlisted" };
  #everWarm = false;
  #lastTickMs: number;

  constructor(options: WarmthOptions) {
    this.#options = options;
    this.#lastTickMs = options.startedAtMs;
  }

  /** Whether it was ever warm: then it is ready. */
  get everWarm(): boolean {
    return this.#everWarm;
  }

  /** Called every WARMTH_TICK_MS, and whenever a gateway has come or the list of them changed. */
  tick(nowMs: number): void {
    this.#noticeFreeze(nowMs);
    this.#lastTickMs = nowMs;
    this.#judge(nowMs);
  }

  /** A map names this router and the one before did not: gateways dial it from now on. */
  listed(nowMs: number): void {
    this.#state = { kind: "cold", sinceMs: nowMs, judgedFromMs: nowMs };
    this.#judge(nowMs);
  }

  isWarm(nowMs: number): boolean {
    this.#noticeFreeze(nowMs);
    this.#judge(nowMs);
    return this.#state.kind === "warm";
  }

  /** Why it is not warm, for /readyz; empty when it is. */
  reasons(): readonly string[] {
    switch (this.#state.kind) {
      case "unlisted":
        return ["no shard map names this router yet"];
      case "cold":
        return ["interest of every gateway not complete yet", ...this.#missing()];
      case "warm":
        return [];
    }
  }

  #missing(): readonly string[] {
    return (this.#options.gateways() ?? []).filter((gateway) => !this.#options.complete(gateway));
  }

  #noticeFreeze(nowMs: number): void {
    if (nowMs - this.#lastTickMs < WARMTH_TICK_MS + FROZEN_MS) return;
    this.#lastTickMs = nowMs;
    if (this.#state.kind === "unlisted") return;
    this.#state = { kind: "cold", sinceMs: nowMs, judgedFromMs: nowMs + THAW_MS };
  }

  #judge(nowMs: number): void {
    if (this.#state.kind !== "cold" || nowMs < this.#state.judgedFromMs) return;
    const waited = nowMs - this.#state.sinceMs >= GIVE_UP_MS;
    const unknown = this.#options.gateways() === undefined;
    if (!waited && (unknown || this.#missing().length > 0)) return;
    this.#state = { kind: "warm" };
    this.#everWarm = true;
  }
}
