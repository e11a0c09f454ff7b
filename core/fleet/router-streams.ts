// Owns: the set of publish streams of this process: one to each router of the map (but itself), opened as soon as a map
// names it. A router that left the map keeps its stream until the answers still due from it came.

import type { Router, ShardMap } from "../domain/shard-map.ts";
import { GrpcClient } from "../runtime/grpc.ts";
import type { PeerIdentity } from "../runtime/peer-identity.ts";
import type { Availability, SequencerStream } from "./publish-stream.ts";

export interface RouterStreamsOptions {
  readonly open: (router: Router) => SequencerStream;
  readonly identity: PeerIdentity;
}

export class RouterStreams {
  readonly #options: RouterStreamsOptions;
  readonly #streams = new Map<string, SequencerStream>();
  readonly #retired = new Set<SequencerStream>();
  /** Channels to routers without a stream: this process itself, where it is one. */
  readonly #clients = new Map<string, GrpcClient>();

  constructor(options: RouterStreamsOptions) {
    this.#options = options;
  }

  /** Streams by how far their routers can be counted on; those whose routers left the map apart. */
  get counts(): Readonly<Record<Availability | "retired", number>> {
    const counts = { live: 0, draining: 0, pending: 0, dead: 0, retired: this.#retired.size };
    for (const { availability } of this.#streams.values()) counts[availability] += 1;
    return counts;
  }

  /** Bytes of publishes without an answer. */
  get unansweredBytes(): number {
    let bytes = 0;
    for (const stream of this.#streams.values()) bytes += stream.unansweredBytes;
    for (const stream of this.#retired) bytes += stream.unansweredBytes;
    return bytes;
  }

  /** Monotonic: when the live stream that has been silent longest was heard; undefined when none is live. */
  get heardAtMs(): number | undefined {
    let oldest: number | undefined;
    for (const { heardAtMs } of this.#streams.values()) {
      if (heardAtMs !== undefined && heardAtMs < (oldest ?? Number.POSITIVE_INFINITY)) oldest = heardAtMs;
    }
    return oldest;
  }

  /** Opens streams to routers that a map brought, retires those that it dropped. `self`: needs none. */
  follow(map: ShardMap, self: string | undefined): void {
    // First those that come, so that what waits for one that goes finds them.
    for (const router of map.routers) {
      if (router.incarnation === self || this.#streams.has(router.incarnation)) continue;
      this.#streams.set(router.incarnation, this.#options.open(router));
    }
    const wanted = new Set(map.routers.map(({ incarnation }) => incarnation));
    for (const [incarnation, stream] of this.#streams) {
      if (wanted.has(incarnation)) continue;
      this.#streams.delete(incarnation);
      this.#retired.add(stream);
      stream.retire();
    }
    this.#forget();
  }

  get(incarnation: string): SequencerStream | undefined {
    return this.#streams.get(incarnation);
  }

  availabilityOf(incarnation: string): Availability {
    return this.#streams.get(incarnation)?.availability ?? "dead";
  }

  clientOf(router: Router): GrpcClient {
    const known = this.#streams.get(router.incarnation)?.client ?? this.#clients.get(router.incarnation);
    if (known !== undefined) return known;
    const client = new GrpcClient(router.address, this.#options.identity.toward("router"));
    this.#clients.set(router.incarnation, client);
    return client;
  }

  sweep(nowMs: number): void {
    for (const stream of this.#streams.values()) stream.sweep(nowMs);
    for (const stream of this.#retired) stream.sweep(nowMs);
    this.#forget();
  }

  close(): void {
    for (const stream of this.#streams.values()) stream.close();
    for (const stream of this.#retired) stream.close();
    for (const client of this.#clients.values()) client.close();
    this.#streams.clear();
    this.#retired.clear();
    this.#clients.clear();
  }

  #forget(): void {
    for (const stream of this.#retired) {
      if (stream.availability === "dead" && stream.unanswered === 0) this.#retired.delete(stream);
    }
  }
}
