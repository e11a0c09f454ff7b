// Owns: when a shard map is acked: once every router that it names has confirmed this gateway's interest as of that map, or
// its link is dead. A newer map takes the place of one that is not acked yet. Elsewhere: what an ack means (operator).

/** What an ack waits for at each router. */
export interface AckLink {
  /** Number of the last interest batch sent. */
  readonly sentNumber: bigint;
  readonly dead: boolean;
  hasConfirmed(number: bigint): boolean;
}

type State =
  | { readonly kind: "acked" }
  /** A map is in force; what it changes is sent at the end of this turn. */
  | { readonly kind: "sending"; readonly epoch: number }
  | { readonly kind: "waiting"; readonly epoch: number; readonly barriers: ReadonlyMap<AckLink, bigint> };

export class EpochAcks {
  readonly #ack: (epoch: number) => void;
  #state: State = { kind: "acked" };

  constructor(ack: (epoch: number) => void) {
    this.#ack = ack;
  }

  /** A map came into force. */
  await(epoch: number): void {
    this.#state = { kind: "sending", epoch };
  }

  /** Everything that changed was sent; `links` are those to the routers of the map. */
  sent(links: readonly AckLink[]): void {
    if (this.#state.kind === "sending") {
      const barriers = new Map(links.map((link) => [link, link.sentNumber]));
      this.#state = { kind: "waiting", epoch: this.#state.epoch, barriers };
    }
    this.look();
  }

  /** A link changed, or confirmed something. */
  look(): void {
    if (this.#state.kind !== "waiting") return;
    const { epoch, barriers } = this.#state;
    for (const [link, number] of barriers) if (!link.dead && !link.hasConfirmed(number)) return;
    this.#state = { kind: "acked" };
    this.#ack(epoch);
  }
}
