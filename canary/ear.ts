// Owns: one stream of SubscriberService on a connection of its own (another gateway may be at its end than at the last
// one's), from being opened to its end. Who opens the next one, and when: ears.ts.

import { create } from "@bufbuild/protobuf";
import type { Clock, Timer } from "#core/runtime/clock.ts";
import { messageOf } from "#core/runtime/errors.ts";
import { GrpcClient } from "#core/runtime/grpc.ts";
import type { CallerCredentials } from "#core/runtime/peer-identity.ts";
import { SubscribeRequestSchema, type SubscribeResponse, SubscriberService } from "#proto/earshot/v1/subscriber_pb.ts";

/** Milliseconds for a connection and its subscription. A gateway refuses what no router confirmed within 5 s. */
const OPEN_MS = 10_000;

export interface EarOptions {
  /** `host:port` of SubscriberService. */
  readonly address: string;
  readonly topicId: string;
  readonly credentials: CallerCredentials;
  readonly clock: Clock;
}

export interface EarListener {
  subscribed(): void;
  /** A message came. */
  heard(payload: string): void;
  /** The gateway asks to open another stream after so many milliseconds; this one serves until then. */
  move(delayMs: number): void;
  /** It is over, without `close` having been called. */
  ended(cause: string): void;
}

export class Ear {
  readonly #listener: EarListener;
  readonly #client: GrpcClient;
  readonly #call: { cancel(): void };
  readonly #openTimer: Timer;
  #isOver = false;

  constructor({ address, topicId, credentials, clock }: EarOptions, listener: EarListener) {
    this.#listener = listener;
    this.#client = new GrpcClient(address, credentials);
    const request = create(SubscribeRequestSchema, { topicIds: [topicId] });
    const call = this.#client.serverStream(SubscriberService.method.subscribe, request);
    call.on("data", (response: SubscribeResponse) => this.#take(response));
    call.on("error", (error: Error) => this.#end(messageOf(error)));
    call.on("end", () => this.#end("the gateway ended the stream"));
    this.#call = call;
    this.#openTimer = clock.after(OPEN_MS, () => this.#end(`not subscribed within ${OPEN_MS} ms`));
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#openTimer.cancel();
    this.#call.cancel();
    this.#client.close();
  }

  #take({ event }: SubscribeResponse): void {
    if (this.#isOver) return;
    switch (event.case) {
      case "subscribed":
        this.#openTimer.cancel();
        this.#listener.subscribed();
        return;
      case "message":
        if (event.value.content.case === "payload") this.#listener.heard(event.value.content.value);
        return;
      case "reconnect":
        this.#listener.move(event.value.delayMs);
        return;
      case "unsubscribed":
        this.#end(`unsubscribed: ${event.value.reason}`);
        return;
      case "error":
        this.#end(`${event.value.code}: ${event.value.message}`);
        return;
      case "welcome":
      case "presence":
      case "gap":
      case undefined:
        return;
    }
  }

  #end(cause: string): void {
    if (this.#isOver) return;
    this.close();
    this.#listener.ended(cause);
  }
}
