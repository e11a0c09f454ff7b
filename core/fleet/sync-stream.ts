// Owns: one Sync stream to one endpoint, for as long as that endpoint is listed: dials, says Hello, hands pushes on one
// at a time, answers each, and dials again when the stream ends or never comes alive. HTTP/2 keepalive (core/runtime/
// grpc.ts) ends a stream whose peer is frozen. What pushes mean, and which stream brings Topics, is the sync client's.

import { create } from "@bufbuild/protobuf";
import { Backoff } from "../runtime/backoff.ts";
import type { Clock, Timer } from "../runtime/clock.ts";
import { messageOf } from "../runtime/errors.ts";
import { type ClientStream, GrpcClient } from "../runtime/grpc.ts";
import type { Log } from "../runtime/log.ts";
import type { CallerCredentials } from "../runtime/peer-identity.ts";
import {
  ControlPlaneService,
  type Push,
  type SyncRequest,
  SyncRequestSchema,
  type SyncResponseSchema,
  type Welcome,
} from "#proto/earshot/internal/v1/control_plane_pb.ts";

export type SyncFrame = SyncRequest["frame"];

export interface SyncStreamOptions {
  readonly address: string;
  readonly credentials: CallerCredentials;
  readonly clock: Clock;
  readonly log: Log;
  /** The Hello of a stream that is being opened. */
  readonly hello: (stream: SyncStream) => SyncFrame;
  readonly welcomed: (stream: SyncStream, welcome: Welcome) => void;
  /** Applies one push; answers undefined when it was taken in, else why not. */
  readonly push: (stream: SyncStream, push: Push) => Promise<string | undefined>;
  /** A stream that had been welcomed ended. */
  readonly lost: (stream: SyncStream) => void;
}

type State =
  | { readonly kind: "waiting"; readonly timer: Timer }
  | { readonly kind: "connecting" | "live"; readonly call: Call; readonly timer: Timer }
  | { readonly kind: "closed" };

type Call = ClientStream<typeof SyncRequestSchema, typeof SyncResponseSchema>;

/** Milliseconds a stream may take to its Welcome: a peer that is alive needs a few. */
const WELCOME_MS = 5_000;

const NEVER: Timer = { cancel: () => undefined };

export class SyncStream {
  readonly #options: SyncStreamOptions;
  readonly #client: GrpcClient;
  readonly #backoff = new Backoff({ firstMs: 50, maxMs: 2_000 });
  #state: State = { kind: "waiting", timer: NEVER };
  /** What the Hello of the present call asked for. */
  #wantsTopics = false;
  #everFailed = false;

  constructor(options: SyncStreamOptions) {
    this.#options = options;
    this.#client = new GrpcClient(options.address, options.credentials);
  }

  get live(): boolean {
    return this.#state.kind === "live";
  }

  get wantsTopics(): boolean {
    return this.#wantsTopics;
  }

  /** The channel, for unary calls to the same process. */
  get client(): GrpcClient {
    return this.#client;
  }

  /** Opens the stream, or ends the present one and opens another with a new Hello. */
  open(): void {
    if (this.#state.kind === "closed") return;
    this.#leave();
    const call = this.#client.bidi(ControlPlaneService.method.sync);
    const late = this.#options.clock.after(WELCOME_MS, () => this.#failed(call, "no welcome in time"));
    this.#state = { kind: "connecting", call, timer: late };
    call.on("data", ({ frame }) => {
      if (frame.case === "welcome") this.#onWelcome(call, frame.value);
      else if (frame.case === "push") void this.#onPush(call, frame.value);
    });
    call.on("error", (error) => this.#failed(call, messageOf(error)));
    call.on("end", () => this.#failed(call, "ended by the peer"));
    const hello = this.#options.hello(this);
    this.#wantsTopics = hello.case === "hello" && hello.value.wantsTopics;
    call.write(create(SyncRequestSchema, { frame: hello }));
  }

  /** Sends a frame when the stream is live; else drops it (the next stream begins with the whole state). */
  send(frame: SyncFrame): void {
    if (this.#state.kind === "live") this.#state.call.write(create(SyncRequestSchema, { frame }));
  }

  close(): void {
    this.#leave();
    this.#state = { kind: "closed" };
    this.#client.close();
  }

  #onWelcome(call: Call, welcome: Welcome): void {
    if (this.#state.kind !== "connecting" || this.#state.call !== call) return;
    this.#state.timer.cancel();
    this.#state = { kind: "live", call, timer: NEVER };
    this.#backoff.reset();
    this.#options.welcomed(this, welcome);
  }

  async #onPush(call: Call, push: Push): Promise<void> {
    if (!this.#isLive(call)) return;
    call.pause();
    const reason = await this.#options.push(this, push);
    if (!this.#isLive(call)) return;
    const { pushId } = push;
    if (reason === undefined) this.#answer(call, { case: "applied", value: { $typeName: APPLIED, pushId } });
    else this.#answer(call, { case: "nack", value: { $typeName: NACK, pushId, reason } });
    call.resume();
  }

  #answer(call: Call, frame: SyncFrame): void {
    call.write(create(SyncRequestSchema, { frame }));
  }

  #isLive(call: Call): boolean {
    return this.#state.kind === "live" && this.#state.call === call;
  }

  #failed(call: Call, cause: string): void {
    if (this.#state.kind === "closed" || this.#state.kind === "waiting" || this.#state.call !== call) return;
    const wasLive = this.#state.kind === "live";
    const isNews = wasLive || !this.#everFailed;
    this.#everFailed = true;
    this.#leave();
    const waitMs = this.#backoff.next();
    this.#state = { kind: "waiting", timer: this.#options.clock.after(waitMs, () => this.open()) };
    // Tries that follow a failure say nothing new.
    if (isNews) this.#options.log.warn({ address: this.#options.address, cause }, "control plane stream lost");
    if (wasLive) this.#options.lost(this);
  }

  #leave(): void {
    const state = this.#state;
    if (state.kind === "closed") return;
    state.timer.cancel();
    this.#state = { kind: "waiting", timer: NEVER };
    if (state.kind !== "waiting") state.call.cancel();
  }
}

const APPLIED = "earshot.internal.v1.Applied";
const NACK = "earshot.internal.v1.Nack";
