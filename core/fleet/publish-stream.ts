// Owns: the one stream from this process to one router, over which publishes go to be sequenced: dialled at once and
// again for as long as the router is in the map. Batches close themselves: while a write is in flight the next fills.
// Invariant: what was written is answered, or it is publish_unknown; what was not written is handed back to be placed
// anew. Nothing is ever written twice. Elsewhere: which router a publish goes to (placer.ts).

import { create, toBinary } from "@bufbuild/protobuf";
import type { Router } from "../domain/shard-map.ts";
import { Backoff } from "../runtime/backoff.ts";
import type { Clock, Timer } from "../runtime/clock.ts";
import { EarshotError, messageOf } from "../runtime/errors.ts";
import { type ClientStream, GrpcClient } from "../runtime/grpc.ts";
import type { Log } from "../runtime/log.ts";
import type { PeerIdentity } from "../runtime/peer-identity.ts";
import {
  type Outcome,
  type Publish,
  PublishBatchSchema,
  type PublisherFrame,
  PublisherFrameSchema,
  RouterService,
  type SequencerFrame,
  type SequencerFrameSchema,
} from "#proto/earshot/internal/v1/router_pb.ts";
import type { Flight } from "./flight.ts";
import { FlightQueue } from "./flight-queue.ts";
import { Heartbeat } from "./heartbeat.ts";
import { PUBLISH_PROTOCOL_VERSION } from "./protocols.ts";
import { type Answer, orderToProto, outcomeToAnswer } from "./publish-codec.ts";

/**
 * How far a router can be counted on: `live`; `draining` (only if nothing else); `pending` (being dialled for the first
 * time: soon one of the others); `dead`.
 */
export type Availability = "live" | "draining" | "pending" | "dead";

/** What the placer needs of a way to a router. */
export interface SequencerStream {
  /** Of the router. */
  readonly incarnation: string;
  /** The channel to it, for unary calls; absent where there is none. */
  readonly client?: GrpcClient;
  readonly availability: Availability;
  /** Publishes without an answer, written or not. */
  readonly unanswered: number;
  readonly unansweredBytes: number;
  /** Monotonic: when the router was last heard, while it is there; absent where nobody knows. */
  readonly heardAtMs?: number | undefined;
  /** The caller has asked `availability` (live or draining) and the caps before. */
  enqueue(flight: Flight): void;
  /** Fails what has waited longer than ANSWER_DEADLINE_MS. */
  sweep(nowMs: number): void;
  /** No more is enqueued: ends itself when everything is answered. */
  retire(): void;
  close(): void;
}

export interface StreamEvents {
  answered(stream: SequencerStream, flight: Flight, answer: Answer): void;
  /** Publishes that were not written when the stream died, oldest first. */
  unwritten(flights: readonly Flight[]): void;
  availabilityChanged(): void;
  wrote(publishes: number): void;
  /** A publish was answered, so long after it was written. */
  hopped(tookMs: number): void;
}

export interface PublishStreamOptions {
  readonly router: Router;
  readonly identity: PeerIdentity;
  /** Of this process. */
  readonly incarnation: string;
  readonly name: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: StreamEvents;
}

type Call = ClientStream<typeof PublisherFrameSchema, typeof SequencerFrameSchema>;

type State =
  | { readonly kind: "connecting"; readonly call: Call; readonly timer: Timer }
  | { readonly kind: "live" | "draining"; readonly call: Call; readonly heartbeat: Heartbeat }
  | { readonly kind: "dead"; readonly timer: Timer }
  | { readonly kind: "closed" };

/** Milliseconds from being taken to an answer: above the 1 s a router waits for receipts and the 3 s of a heartbeat. */
const ANSWER_DEADLINE_MS = 5_000;

/** Milliseconds a router may take to its hello. */
const HELLO_MS = 3_000;

/** Publishes and bytes of one frame: less than a 4 MiB message, with room for one of the largest on top. */
const FRAME_PUBLISHES_MAX = 4_096;
const FRAME_BYTES_MAX = 1024 * 1024;

export class PublishStream implements SequencerStream {
  readonly incarnation: string;
  readonly client: GrpcClient;
  readonly #options: PublishStreamOptions;
  readonly #backoff = new Backoff({ firstMs: 50, maxMs: 2_000 });
  readonly #written = new Map<number, Flight>();
  /** What is not written yet. */
  readonly #queue = new FlightQueue();
  #state: State;
  #everFailed = false;
  #retired = false;
  #writing = false;
  #flushDue = false;
  #nextId = 1;
  #bytes = 0;

  constructor(options: PublishStreamOptions) {
    this.#options = options;
    this.incarnation = options.router.incarnation;
    this.client = new GrpcClient(options.router.address, options.identity.toward("router"));
    this.#state = this.#dial();
  }

  get availability(): Availability {
    switch (this.#state.kind) {
      case "live":
      case "draining":
        return this.#state.kind;
      case "connecting":
        return this.#everFailed ? "dead" : "pending";
      case "dead":
      case "closed":
        return "dead";
    }
  }

  get unanswered(): number {
    return this.#written.size + this.#queue.size;
  }

  get unansweredBytes(): number {
    return this.#bytes;
  }

  get heardAtMs(): number | undefined {
    return "heartbeat" in this.#state ? this.#state.heartbeat.heardAtMs : undefined;
  }

  enqueue(flight: Flight): void {
    this.#queue.push(flight);
    this.#bytes += flight.bytes;
    this.#flushSoon();
  }

  sweep(nowMs: number): void {
    const before = nowMs - ANSWER_DEADLINE_MS;
    for (const [id, flight] of this.#written) {
      if (flight.startedAtMs > before) continue;
      this.#written.delete(id);
      this.#bytes -= flight.bytes;
      this.#answer(flight, { kind: "failed", error: unknown("the router did not answer in time") });
    }
    const late = this.#queue.take((flight) => flight.startedAtMs <= before);
    for (const flight of late) {
      this.#bytes -= flight.bytes;
      this.#answer(flight, {
        kind: "failed",
        error: new EarshotError("backpressure", "the router takes nothing more"),
      });
    }
    this.#endIfIdle();
  }

  retire(): void {
    if (this.#retired) return;
    this.#retired = true;
    this.#endIfIdle();
  }

  close(): void {
    this.#end({ kind: "closed" }, "closed");
  }

  #dial(): State {
    const { clock, incarnation, name } = this.#options;
    const call = this.client.bidi(RouterService.method.publishStream);
    call.on("data", (frame) => this.#onFrame(call, frame.frame));
    call.on("error", (error) => this.#failed(call, messageOf(error)));
    call.on("end", () => this.#failed(call, "ended by the router"));
    const hello = { protocolVersion: PUBLISH_PROTOCOL_VERSION, incarnation, name };
    call.write(create(PublisherFrameSchema, { frame: { case: "hello", value: { $typeName: HELLO_TYPE, ...hello } } }));
    return { kind: "connecting", call, timer: clock.after(HELLO_MS, () => this.#failed(call, "no hello in time")) };
  }

  #onFrame(call: Call, frame: SequencerFrame["frame"]): void {
    const state = this.#state;
    if (state.kind === "dead" || state.kind === "closed" || state.call !== call) return;
    if (state.kind !== "connecting") state.heartbeat.heard();
    switch (frame.case) {
      case "hello":
        if (state.kind === "connecting") this.#onHello(state.call, state.timer, frame.value.incarnation);
        break;
      case "outcomes":
        this.#onOutcomes(frame.value.outcomes);
        break;
      case "draining":
        if (state.kind === "live") this.#enter({ ...state, kind: "draining" });
        break;
      case "heartbeat":
      case undefined:
        break;
    }
  }

  #onOutcomes(outcomes: readonly Outcome[]): void {
    const nowMs = this.#options.clock.monotonic();
    for (const outcome of outcomes) {
      const flight = this.#take(Number(outcome.id));
      if (flight === undefined) continue;
      this.#options.events.hopped(nowMs - flight.writtenAtMs);
      this.#answer(flight, outcomeToAnswer(outcome, this.incarnation));
    }
    this.#endIfIdle();
  }

  #onHello(call: Call, timer: Timer, incarnation: string): void {
    const { clock } = this.#options;
    if (incarnation !== this.incarnation) {
      this.#failed(call, "another process answers at the router's address");
      return;
    }
    timer.cancel();
    this.#backoff.reset();
    const heartbeat = new Heartbeat({
      clock,
      send: () => call.write(create(PublisherFrameSchema, { frame: HEARTBEAT })),
      dead: () => this.#failed(call, "no heartbeat"),
    });
    this.#enter({ kind: "live", call, heartbeat });
    this.#endIfIdle();
  }

  #enter(state: State): void {
    this.#state = state;
    this.#options.events.availabilityChanged();
  }

  #take(id: number): Flight | undefined {
    const flight = this.#written.get(id);
    if (flight === undefined) return undefined;
    this.#written.delete(id);
    this.#bytes -= flight.bytes;
    return flight;
  }

  #answer(flight: Flight, answer: Answer): void {
    this.#options.events.answered(this, flight, answer);
  }

  /** Writes after the callbacks of this turn of the event loop: what came in together goes out together. */
  #flushSoon(): void {
    if (this.#flushDue || this.#writing) return;
    this.#flushDue = true;
    setImmediate(() => {
      this.#flushDue = false;
      this.#flush();
    });
  }

  #flush(): void {
    const state = this.#state;
    if (this.#writing || this.#queue.size === 0) return;
    if (state.kind !== "live" && state.kind !== "draining") return;
    const publishes = this.#takeFrame();
    const frame: PublisherFrame["frame"] = { case: "batch", value: create(PublishBatchSchema, { publishes }) };
    this.#writing = true;
    const { call } = state;
    call.write(toBinary(PublisherFrameSchema, create(PublisherFrameSchema, { frame })), () => this.#onWritten(call));
    this.#options.events.wrote(publishes.length);
  }

  #onWritten(call: Call): void {
    const state = this.#state;
    if (state.kind === "dead" || state.kind === "closed" || state.call !== call) return;
    this.#writing = false;
    this.#flush();
  }

  #takeFrame(): Publish[] {
    const publishes: Publish[] = [];
    const nowMs = this.#options.clock.monotonic();
    let bytes = 0;
    while (publishes.length < FRAME_PUBLISHES_MAX && bytes < FRAME_BYTES_MAX) {
      const flight = this.#queue.shift();
      if (flight === undefined) break;
      const id = this.#nextId++;
      flight.writtenAtMs = nowMs;
      publishes.push(orderToProto(flight.order, BigInt(id), flight.epoch));
      this.#written.set(id, flight);
      bytes += flight.bytes;
    }
    return publishes;
  }

  #failed(call: Call, cause: string): void {
    const state = this.#state;
    if (state.kind === "dead" || state.kind === "closed" || state.call !== call) return;
    const { clock, log, router } = this.#options;
    // Tries that follow a failure say nothing new.
    const isNews = state.kind !== "connecting" || !this.#everFailed;
    this.#everFailed = true;
    if (isNews) log.warn({ router: router.name, routerIncarnation: router.incarnation, cause }, "publish stream lost");
    if (this.#retired) this.#end({ kind: "closed" }, cause);
    else this.#end({ kind: "dead", timer: clock.after(this.#backoff.next(), () => this.#redial()) }, cause);
  }

  #redial(): void {
    if (this.#state.kind === "dead") this.#state = this.#dial();
  }

  /** Leaves the present state for good: ends its call and timers, and gives every flight back or its answer. */
  #end(next: State, cause: string): void {
    const state = this.#state;
    if (state.kind === "closed") return;
    this.#state = next;
    if (state.kind === "dead" || state.kind === "connecting") state.timer.cancel();
    else state.heartbeat.stop();
    if (state.kind !== "dead") state.call.cancel();
    if (next.kind === "closed") this.client.close();
    const unwritten = this.#queue.take();
    const written = [...this.#written.values()];
    this.#written.clear();
    this.#bytes = 0;
    this.#writing = false;
    // Oldest first: what was not written goes before whatever waits for this router's answers.
    if (unwritten.length > 0) this.#options.events.unwritten(unwritten);
    const error = unknown(`the router is gone: ${cause}`);
    for (const flight of written) this.#answer(flight, { kind: "failed", error });
    this.#options.events.availabilityChanged();
  }

  #endIfIdle(): void {
    if (this.#retired && this.unanswered === 0) this.close();
  }
}

function unknown(message: string): EarshotError {
  return new EarshotError("publish_unknown", message);
}

const HELLO_TYPE = "earshot.internal.v1.PublisherHello";

const HEARTBEAT: PublisherFrame["frame"] = {
  case: "heartbeat",
  value: { $typeName: "earshot.internal.v1.Heartbeat" },
};
