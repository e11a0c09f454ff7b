// Owns: which Sync streams there are and which one brings Topics. One to every operator; while none has ever answered
// since this process started, also to a few routers. Exactly one stream at a time is the source of Topics: when it is
// lost, another live one is opened anew with `wants_topics`.
// Elsewhere: the life of one stream (sync-stream.ts), what pushes mean (sync-client.ts).

import type { Clock, Timer } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import type { PeerIdentity } from "../runtime/peer-identity.ts";
import type { Push, Welcome } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import type { Unlisten } from "./fleet.ts";
import type { PeerDirectory, PeerEndpoint } from "./peers.ts";
import { type SyncFrame, SyncStream } from "./sync-stream.ts";

export interface SyncSourcesOptions {
  readonly peers: PeerDirectory;
  /** Of this process, which never asks itself: by its address too, where a list of peers tells no incarnations. */
  readonly self: { readonly incarnation: string; readonly address: string };
  readonly identity: PeerIdentity;
  readonly clock: Clock;
  readonly log: Log;
  readonly hello: (wantsTopics: boolean) => SyncFrame;
  /** A stream is open; what is sent on it now comes first. */
  readonly welcomed: (stream: SyncStream, welcome: Welcome) => void;
  /** `isSource`: whether the push's Topics count. */
  readonly push: (push: Push, isSource: () => boolean) => Promise<string | undefined>;
  /** A list of Topics that was coming in will not end. */
  readonly sourceChanged: () => void;
}

/** Milliseconds that operators have to answer before routers are asked. */
const OPERATOR_HEAD_START_MS = 1_000;

/** Milliseconds between looks at whether the source of Topics is still the right one. */
const STEER_MS = 500;

/** Routers asked at once while no operator answers: one may be as new as this process. */
const ROUTERS_ASKED_MAX = 3;

/** Milliseconds until other routers are asked, when none of these answered. */
const ROUTER_TURN_MS = 3_000;

interface Source {
  readonly kind: "operator" | "router";
  readonly stream: SyncStream;
}

type Dialled = Pick<PeerEndpoint, "incarnation" | "grpc">;

export class SyncSources {
  readonly #options: SyncSourcesOptions;
  readonly #sources = new Map<string, Source>();
  readonly #startedAtMs: number;
  readonly #unlisten: Unlisten;
  readonly #steering: Timer;
  #operatorEverAnswered = false;
  #topicSource: SyncStream | undefined;
  #told: readonly string[] = [];
  #turn = 0;
  #firstAsked = 0;

  constructor(options: SyncSourcesOptions) {
    this.#options = options;
    this.#startedAtMs = options.clock.monotonic();
    this.#unlisten = options.peers.onChange(() => this.#steer());
    this.#steering = options.clock.every(STEER_MS, () => this.#steer());
    this.#steer();
  }

  /** Live streams to operators. */
  get operators(): readonly SyncStream[] {
    return this.#live("operator");
  }

  /** How many streams are live, by whom they lead to. */
  get live(): Readonly<Record<Source["kind"], number>> {
    return { operator: this.#live("operator").length, router: this.#live("router").length };
  }

  /** Sends a frame on every live stream. */
  send(frame: SyncFrame): void {
    for (const { stream } of this.#sources.values()) stream.send(frame);
  }

  close(): void {
    this.#unlisten();
    this.#steering.cancel();
    for (const { stream } of this.#sources.values()) stream.close();
    this.#sources.clear();
    this.#topicSource = undefined;
  }

  #live(kind: Source["kind"]): readonly SyncStream[] {
    return [...this.#sources.values()]
      .filter((source) => source.kind === kind && source.stream.live)
      .map((source) => source.stream);
  }

  #steer(): void {
    this.#follow("operator", this.#operatorsToAsk());
    this.#follow("router", this.#routersToAsk());
    const next = this.#anyLive();
    if (next === undefined || this.#topicSource?.live === true) return;
    this.#take(next);
    next.open();
  }

  /** Addresses of operators, as one of them told: known besides those that the peers' directory has. */
  setOperators(addresses: readonly string[]): void {
    this.#told = addresses;
    this.#steer();
  }

  /** By address: whoever is known in both ways is asked once. */
  #operatorsToAsk(): readonly Dialled[] {
    const found = this.#options.peers.list("operator");
    const known = new Set(found.map(({ grpc }) => grpc));
    const told = this.#told.filter((address) => !known.has(address));
    return [...found, ...told.map((address) => ({ incarnation: address, grpc: address }))];
  }

  #anyLive(): SyncStream | undefined {
    return this.#live("operator")[0] ?? this.#live("router")[0];
  }

  /** From now on Topics come from this stream alone. */
  #take(stream: SyncStream | undefined): void {
    this.#turn += 1;
    this.#topicSource = stream;
    this.#options.sourceChanged();
  }

  /** Opens streams to peers that are new, closes those to peers that are gone. */
  #follow(kind: Source["kind"], peers: readonly Dialled[]): void {
    const wanted = new Map(peers.map((peer) => [`${kind} ${peer.incarnation} ${peer.grpc}`, peer]));
    for (const [key, { kind: other, stream }] of this.#sources) {
      if (other !== kind || wanted.has(key)) continue;
      this.#sources.delete(key);
      stream.close();
      this.#forget(stream);
    }
    for (const [key, peer] of wanted) {
      if (this.#sources.has(key)) continue;
      const stream = this.#streamTo(kind, peer.grpc);
      this.#sources.set(key, { kind, stream });
      stream.open();
    }
  }

  #routersToAsk(): readonly PeerEndpoint[] {
    if (this.#operatorEverAnswered) return [];
    const { clock, peers, self } = this.#options;
    const waitedMs = clock.monotonic() - this.#startedAtMs;
    if (waitedMs < OPERATOR_HEAD_START_MS) return [];
    const isOther = (peer: PeerEndpoint): boolean =>
      peer.incarnation !== self.incarnation && peer.grpc !== self.address;
    const others = peers.list("router").filter(isOther);
    if (this.#live("router").length === 0) this.#firstAsked = Math.floor(waitedMs / ROUTER_TURN_MS) * ROUTERS_ASKED_MAX;
    const first = others.length === 0 ? 0 : this.#firstAsked % others.length;
    return others.slice(first).concat(others.slice(0, first)).slice(0, ROUTERS_ASKED_MAX);
  }

  #streamTo(kind: Source["kind"], address: string): SyncStream {
    const { identity, clock, log, hello, push } = this.#options;
    return new SyncStream({
      address,
      credentials: identity.toward(kind),
      clock,
      log,
      hello: (stream) => {
        this.#topicSource ??= stream;
        return hello(this.#topicSource === stream);
      },
      welcomed: (stream, welcome) => this.#welcomed(kind, stream, welcome),
      push: (stream, received) => {
        // What an earlier turn still brings does not count, though its stream may be the source again.
        const turn = this.#turn;
        return push(received, () => turn === this.#turn && stream === this.#topicSource && stream.wantsTopics);
      },
      lost: (stream) => this.#forget(stream),
    });
  }

  #welcomed(kind: Source["kind"], stream: SyncStream, welcome: Welcome): void {
    if (stream.wantsTopics && stream !== this.#topicSource) {
      if (this.#topicSource?.live === true) {
        stream.open();
        return;
      }
      this.#take(stream);
    }
    this.#options.welcomed(stream, welcome);
    if (kind === "operator" && !this.#operatorEverAnswered) {
      this.#operatorEverAnswered = true;
      this.#follow("router", []);
    }
  }

  #forget(stream: SyncStream): void {
    if (this.#topicSource !== stream) return;
    const next = this.#anyLive();
    this.#take(next);
    next?.open();
  }
}
