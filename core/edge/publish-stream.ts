// Owns: one PublishStream of a publisher: messages are handed on in the order they come, results go back as they come.
// What is under way is bounded; at the bound, and while the publisher does not read its results, nothing more is read
// and HTTP/2's flow control holds the publisher. Invariant: every message that was read gets its result before the
// stream ends by our will; what was not read was not touched, and may safely be sent again.

import { create } from "@bufbuild/protobuf";
import type { PublishResult } from "../fleet/publish-order.ts";
import type { Clock } from "../runtime/clock.ts";
import { EarshotError } from "../runtime/errors.ts";
import { type ServerDuplexStream, toStatus } from "../runtime/grpc.ts";
import type { Log } from "../runtime/log.ts";
import {
  type PublishStreamRequest,
  type PublishStreamResponse,
  PublishStreamResponseSchema,
} from "#proto/earshot/v1/publisher_pb.ts";
import type { Caller, Edge } from "./edge.ts";
import { contentBytes, publishInput, publishOutcome } from "./publish-messages.ts";

/** Messages of one stream under way at the same time: 256 in 1 ms is more than one topic's router takes. */
export const STREAM_OUTSTANDING_MAX = 256;

/** Payload bytes of one stream under way at the same time. */
export const STREAM_OUTSTANDING_BYTES_MAX = 4 * 1024 * 1024;

export type PublishCall = ServerDuplexStream<PublishStreamRequest, PublishStreamResponse | Uint8Array>;

interface PublishStreamContext {
  readonly edge: Pick<Edge, "publish">;
  readonly caller: Caller;
  readonly clock: Clock;
  readonly log: Log;
  /** Called once, when the stream is over. */
  readonly onOver: () => void;
}

type State = "open" | "ending" | "over";

export class PublishStream {
  readonly #call: PublishCall;
  readonly #context: PublishStreamContext;
  #state: State = "open";
  #outstanding = 0;
  #outstandingBytes = 0;
  #resultsBlocked = false;
  /** Why it ends, when not because the publisher is done. */
  #error: EarshotError | undefined;

  /** Starts reading. */
  constructor(call: PublishCall, context: PublishStreamContext) {
    this.#call = call;
    this.#context = context;
    call.on("cancelled", () => this.#over());
    call.on("end", () => this.#finish(undefined));
    call.on("drain", () => {
      this.#resultsBlocked = false;
      this.#readOn();
    });
    call.on("data", (request: PublishStreamRequest) => this.#onRequest(request));
  }

  /** Messages under way. */
  get outstanding(): number {
    return this.#outstanding;
  }

  /** Reads no more; ends once what is under way has its result. */
  drain(): void {
    this.#finish(new EarshotError("draining", "this process is going away: send what has no result yet to another"));
  }

  #onRequest(request: PublishStreamRequest): void {
    if (this.#state !== "open") return;
    const { principal } = this.#context.caller;
    if (principal.kind !== "anonymous" && principal.expiresAtMs <= this.#context.clock.now()) {
      this.#finish(
        new EarshotError("token_expired", "the token has expired; messages without a result were not taken"),
      );
      return;
    }
    const bytes = contentBytes(request.message);
    this.#outstanding += 1;
    this.#outstandingBytes += bytes;
    if (this.#isFull()) this.#call.pause();
    void this.#publish(request).then((result) => {
      this.#outstanding -= 1;
      this.#outstandingBytes -= bytes;
      if (result !== undefined) this.#tell(request.id, result);
      this.#readOn();
      this.#endWhenIdle();
    });
  }

  /** The result of one message; undefined for a bug, which ends the stream. Never rejects. */
  async #publish(request: PublishStreamRequest): Promise<PublishResult | EarshotError | undefined> {
    try {
      if (request.message === undefined) throw new EarshotError("invalid_request", "message is missing");
      return await this.#context.edge.publish(this.#context.caller, publishInput(request.message, "message."));
    } catch (error) {
      if (error instanceof EarshotError) return error;
      this.#context.log.error({ error }, "publish failed unexpectedly");
      this.#call.emit("error", toStatus(error));
      this.#over();
      return undefined;
    }
  }

  #tell(id: bigint, result: PublishResult | EarshotError): void {
    if (this.#state === "over") return;
    const { outcome } = publishOutcome(result);
    if (this.#call.write(create(PublishStreamResponseSchema, { id, outcome }))) return;
    this.#resultsBlocked = true;
    this.#call.pause();
  }

  #isFull(): boolean {
    return this.#outstanding >= STREAM_OUTSTANDING_MAX || this.#outstandingBytes >= STREAM_OUTSTANDING_BYTES_MAX;
  }

  #readOn(): void {
    if (this.#state === "open" && !this.#resultsBlocked && !this.#isFull() && this.#call.isPaused())
      this.#call.resume();
  }

  #finish(error: EarshotError | undefined): void {
    if (this.#state !== "open") return;
    this.#state = "ending";
    this.#error = error;
    if (error !== undefined) this.#call.pause();
    this.#endWhenIdle();
  }

  #endWhenIdle(): void {
    if (this.#state !== "ending" || this.#outstanding > 0) return;
    // Results written before go out first: both of these end the stream behind them.
    if (this.#error === undefined) this.#call.end();
    else this.#call.emit("error", toStatus(this.#error));
    this.#over();
  }

  #over(): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#context.onOver();
  }
}
