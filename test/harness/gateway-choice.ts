// Owns: which gateway a client of a test uses: its own, and another one once that one is gone, as behind a load balancer.

/** Addresses of the public doors, by gateway; a whole fleet, or one address for all. */
export interface Gateways {
  names(role: "gateway"): readonly string[];
  http(gateway: string): string;
  ws(gateway: string): string;
  grpc(gateway: string): string;
}

export class GatewayChoice {
  readonly #names: readonly string[];
  #at: number;

  constructor(gateways: Gateways, home: string) {
    this.#names = gateways.names("gateway");
    this.#at = Math.max(0, this.#names.indexOf(home));
  }

  /** Tries that reach every gateway twice. */
  get tries(): number {
    return 2 * this.#names.length;
  }

  get current(): string {
    return this.#names[this.#at] ?? "";
  }

  /** Goes on to the next one, unless somebody has left `from` already. */
  leave(from: string): void {
    if (this.current === from) this.#at = (this.#at + 1) % this.#names.length;
  }
}
