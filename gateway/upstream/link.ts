// Owns: the one stream to one router: dialling and dialling again, Hello, heartbeats, interest batches with the
// confirms that answer them, record batches in. What a topic or a map is, it does not know.
// Invariants: a link is dead after 3 s without any frame, or when its stream ends; batches of interest are confirmed in
// the order they were sent; everything is registered anew after a death.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Backoff } from "#core/runtime/backoff.ts";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { messageOf } from "#core/runtime/errors.ts";
import { type ClientStream, GrpcClient } from "#core/runtime/grpc.ts";
import type { Log } from "#core/runtime/log.ts";
import type { ProcessSelf } from "#core/runtime/process.ts";
import type { PeerIdentity } from "#core/runtime/peer-identity.ts";
import type { Router } from "#core/domain/shard-map.ts";
import { Heartbeat } from "#core/fleet/heartbeat.ts";
import { LINK_PROTOCOL_VERSION } from "#core/fleet/protocols.ts";
import {
  type GatewayFrame,
  GatewayFrameSchema,
  type InterestConfirm,
  LinkService,
  type MissedRecords,
  type RecordBatch,
  type RouterFrame,
  type RouterFrameSchema,
} from "#proto/earshot/internal/v1/link_pb.ts";
import type { ReceiptCount } from "../fanout/receipts.ts";
import { HandedOn } from "./handed-on.ts";
import { type InterestChange, InterestLog } from "./interest-log.ts";

type Stream = ClientStream<typeof GatewayFrameSchema, typeof RouterFrameSchema>;

interface StreamParts {
  readonly stream: Stream;
  readonly heartbeat: Heartbeat;
  readonly handedOn: HandedOn;
}

type LinkState =
  /** Dialled; the router has not answered yet. Nobody waits for a link that was dead before. */
  | (StreamParts & { readonly kind: "connecting"; readonly first: boolean })
  | (StreamParts & { readonly kind: "alive"; readonly draining: boolean })
  | { readonly kind: "dead"; readonly retry: Timer }
  | { readonly kind: "closed" };

export const LINK_STANDINGS = ["connecting", "alive", "draining", "dead", "closed"] as const;
export type LinkStanding = (typeof LINK_STANDINGS)[number];

export interface LinkOwner {
  /** Alive, dead, draining: whatever others judge a router by. */
  stateChanged(link: Link): void;
  /** Everything that the router shall know, asked for right after Hello. */
  allInterests(link: Link): InterestChange[];
  /** A batch of interests was confirmed; their own callbacks were called before. */
  confirmed(link: Link): void;
  records(handedOn: HandedOn, batch: RecordBatch): void;
  missed(link: Link, missed: readonly MissedRecords[]): void;
  /** It was alive. */
  died(link: Link, end: LinkEnd): void;
}

/** `announced`: the router had said that it drains and ended the stream itself. */
export type LinkEnd = "announced" | "silent" | "broken";

interface LinkOptions {
  readonly router: Router;
  readonly self: ProcessSelf;
  readonly identity: PeerIdentity;
  readonly clock: Clock;
  readonly log: Log;
  readonly owner: LinkOwner;
}

export class Link {
  readonly router: Router;
  readonly #options: LinkOptions;
  readonly #client: GrpcClient;
  readonly #backoff = new Backoff({ firstMs: 50, maxMs: 2_000 });
  #state: LinkState;
  readonly #interests = new InterestLog();
  #settledOnce = false;
  #introduced = false;
  /** Monotonic: since when no map lists this router; undefined while one does. */
  unlistedAtMs: number | undefined;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.router = options.router;
    this.#client = new GrpcClient(options.router.address, options.identity.toward("router"));
    this.#state = this.#dial(true);
  }

  get incarnation(): string {
    return this.router.incarnation;
  }

  get state(): LinkState {
    return this.#state;
  }

  get alive(): boolean {
    return this.#state.kind === "alive";
  }

  /** Where it stands, for whoever measures. */
  get standing(): LinkStanding {
    const { kind } = this.#state;
    return kind === "alive" && this.#state.draining ? "draining" : kind;
  }

  /** Monotonic: when the router was last heard, while the link is alive. */
  get heardAtMs(): number | undefined {
    return this.#state.kind === "alive" ? this.#state.heartbeat.heardAtMs : undefined;
  }

  /** Interest batches that the router has not confirmed. */
  get unconfirmed(): number {
    return this.#interests.unconfirmed;
  }

  /** Whether publishes go there, and confirmations are waited for. */
  get usable(): boolean {
    return this.#state.kind === "alive" && !this.#state.draining;
  }

  /** Whether it is known not to answer, as opposed to not yet. */
  get dead(): boolean {
    return this.#state.kind === "dead" || (this.#state.kind === "connecting" && !this.#state.first);
  }

  /** Whether the router has ever confirmed this gateway's whole list, on this stream or one before. */
  get settledOnce(): boolean {
    return this.#settledOnce;
  }

  /** Number of the last interest batch sent. */
  get sentNumber(): bigint {
    return this.#interests.number;
  }

  hasConfirmed(number: bigint): boolean {
    return this.alive && this.#interests.hasConfirmed(number);
  }

  /** Whether changes may be sent now; before Hello was said, the first list will hold them. */
  get open(): boolean {
    return this.#introduced;
  }

  /** Sends changed interests. */
  register(changes: readonly InterestChange[], initial = false): void {
    for (const batch of this.#interests.batches(changes, initial)) {
      const { number, initialComplete } = batch;
      const interests = batch.changes.map(({ topicId, count, presenceCount }) => ({ topicId, count, presenceCount }));
      this.#send({ case: "interest", value: { number, initialComplete, interests } });
    }
  }

  close(): void {
    const state = this.#state;
    if (state.kind === "closed") return;
    this.#state = { kind: "closed" };
    this.#forget();
    if ("stream" in state) {
      state.heartbeat.stop();
      state.handedOn.end();
      state.stream.end();
      state.stream.cancel();
    } else state.retry.cancel();
    this.#client.close();
  }

  #dial(first: boolean): LinkState {
    const stream = this.#client.bidi(LinkService.method.open);
    const { clock } = this.#options;
    const heartbeat = new Heartbeat({
      clock,
      send: () => this.#send({ case: "heartbeat", value: {} }),
      dead: () => this.#ended(stream, "silent"),
    });
    stream.on("data", (frame: RouterFrame) => this.#receive(stream, frame));
    stream.on("error", (error: Error) => this.#ended(stream, messageOf(error)));
    stream.on("end", () => this.#ended(stream, undefined));
    const handedOn = new HandedOn(this.incarnation, {
      confirm: (number) => this.#send({ case: "batchConfirm", value: { number } }),
      receipts: (counts) => this.#sendReceipts(counts),
    });
    // The state is set by the caller; Hello and the list follow in a turn of their own.
    setImmediate(() => this.#introduce(stream));
    return { kind: "connecting", first, stream, heartbeat, handedOn };
  }

  #introduce(stream: Stream): void {
    if (!("stream" in this.#state) || this.#state.stream !== stream) return;
    const { self, owner } = this.#options;
    this.#send({ case: "hello", value: { protocolVersion: LINK_PROTOCOL_VERSION, ...self } });
    this.#introduced = true;
    this.register(owner.allInterests(this), true);
  }

  #receive(stream: Stream, frame: RouterFrame): void {
    const state = this.#state;
    if (!("stream" in state) || state.stream !== stream) return;
    state.heartbeat.heard();
    const { owner } = this.#options;
    switch (frame.frame.case) {
      case "hello":
        this.#welcomed(frame.frame.value.incarnation);
        return;
      case "confirm":
        this.#confirmed(stream, frame.frame.value);
        return;
      case "batch":
        state.handedOn.began(frame.frame.value.number);
        owner.records(state.handedOn, frame.frame.value);
        return;
      case "overflow":
        owner.missed(this, frame.frame.value.missed);
        return;
      case "draining":
        if (state.kind !== "alive") return;
        this.#state = { ...state, draining: true };
        owner.stateChanged(this);
        return;
      case "heartbeat":
      case undefined:
        return;
    }
  }

  #welcomed(incarnation: string): void {
    const state = this.#state;
    if (state.kind !== "connecting") return;
    if (incarnation !== this.incarnation) {
      // Its address has another tenant; a map will say so soon.
      this.#ended(state.stream, "another incarnation answers");
      return;
    }
    this.#state = { ...state, kind: "alive", draining: false };
    this.#backoff.reset();
    this.#options.log.info({ router: this.router.name, routerIncarnation: incarnation }, "link alive");
    this.#options.owner.stateChanged(this);
  }

  #confirmed(stream: Stream, confirm: InterestConfirm): void {
    if (!this.#interests.confirm(confirm)) {
      this.#ended(stream, "confirm out of order");
      return;
    }
    this.#settledOnce ||= this.#interests.initialConfirmed;
    this.#options.owner.confirmed(this);
  }

  #ended(stream: Stream, cause: string | undefined): void {
    const state = this.#state;
    if (!("stream" in state) || state.stream !== stream) return;
    const wasAlive = state.kind === "alive";
    const announced = state.kind === "alive" && state.draining && cause === undefined;
    state.heartbeat.stop();
    state.handedOn.end();
    // What a cancelled stream still says is of no interest, but would be an unhandled error.
    stream.on("error", () => undefined);
    stream.cancel();
    this.#forget();
    const retry = this.#options.clock.after(this.#backoff.next(), () => {
      if (this.#state.kind === "dead") this.#state = this.#dial(false);
    });
    this.#state = { kind: "dead", retry };
    if (wasAlive) {
      const fields = {
        router: this.router.name,
        routerIncarnation: this.incarnation,
        cause: cause ?? "ended by router",
      };
      if (announced) this.#options.log.info(fields, "link ended");
      else this.#options.log.warn(fields, "link dead");
      this.#options.owner.died(this, announced ? "announced" : cause === "silent" ? "silent" : "broken");
    }
    this.#options.owner.stateChanged(this);
  }

  #forget(): void {
    this.#interests.forget();
    this.#introduced = false;
  }

  #sendReceipts(counts: readonly ReceiptCount[]): void {
    const receipts = counts.map(({ receiptId, written, notWritten }) => ({ receiptId, written, notWritten }));
    this.#send({ case: "receipts", value: { receipts } });
  }

  #send(frame: NonNullable<MessageInitShape<typeof GatewayFrameSchema>["frame"]>): void {
    if (!("stream" in this.#state)) return;
    const message: GatewayFrame = create(GatewayFrameSchema, { frame });
    this.#state.stream.write(message);
  }
}
