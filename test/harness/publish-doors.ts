// Owns: every way to publish, as a door for the message counter: HTTP, HTTP batch, gRPC Publish, and (streaming-door.ts)
// WebSocket and PublishStream. Each does what docs/protocol.md asks of a client: it goes to another gateway when its own
// is gone, sends again only what is safe to repeat (never sent, or told `draining`), and leaves open what is not.

import { create } from "@bufbuild/protobuf";
import { GrpcClient } from "#core/runtime/grpc.ts";
import { PublishRequestSchema } from "#proto/earshot/v1/publisher_pb.ts";
import {
  answerOf,
  brokenBy,
  type DoorOptions,
  grpcFailure,
  isSafeToRepeat,
  type JsonResult,
  outcomeOf,
  payloadOf,
} from "./door-outcomes.ts";
import { GatewayChoice, type Gateways } from "./gateway-choice.ts";
import { grpcPublish } from "./grpc-ears.ts";
import { call } from "./http.ts";
import type { Door, Outcome } from "./message-counter.ts";
import { StreamingDoor } from "./streaming-door.ts";

/** Messages of an HTTP batch. */
const BATCH = 4;

/** Every door of every gateway. */
export function allDoors(gateways: Gateways, topicId: string, padding?: string): readonly Door[] {
  return gateways.names("gateway").flatMap((home) => {
    const options = { gateways, home, topicId, ...(padding === undefined ? {} : { padding }) };
    return [
      new HttpDoor(options, 1),
      StreamingDoor.webSocket(options),
      new GrpcDoor(options),
      new HttpDoor(options, BATCH),
      StreamingDoor.grpc(options),
    ];
  });
}

export class HttpDoor implements Door {
  readonly name: string;
  readonly size: number;
  readonly ordered = false;
  readonly #options: DoorOptions;
  readonly #choice: GatewayChoice;

  constructor(options: DoorOptions, size: number) {
    this.name = `${size === 1 ? "http" : "http batch"} at ${options.home}`;
    this.size = size;
    this.#options = options;
    this.#choice = new GatewayChoice(options.gateways, options.home);
  }

  async publish(numbers: readonly number[]): Promise<readonly Outcome[]> {
    let last: Outcome = { kind: "broken", why: "no gateway" };
    for (let tries = this.#choice.tries; tries > 0; tries--) {
      const gateway = this.#choice.current;
      try {
        const outcomes = await this.#call(this.#options.gateways.http(gateway), numbers);
        if (!outcomes.every((outcome) => outcome.kind === "error" && outcome.code === "draining")) return outcomes;
        last = { kind: "error", code: "draining" };
      } catch (error) {
        last = brokenBy(error);
        if (!isSafeToRepeat(last)) tries = 0;
      }
      this.#choice.leave(gateway);
    }
    return numbers.map(() => last);
  }

  close(): void {}

  async #call(base: string, numbers: readonly number[]): Promise<readonly Outcome[]> {
    const { topicId } = this.#options;
    const token = tokenOf(this.#options);
    const messages = numbers.map((number) => ({ topic_id: topicId, payload: payloadOf(number, this.#options) }));
    if (this.size === 1) {
      const body = { payload: messages[0]?.payload };
      const { json, status } = await call(base, "POST", `/api/v1/topics/${topicId}/publish`, { body, ...token });
      return [answerOf(json, status)];
    }
    const { json, status } = await call(base, "POST", "/api/v1/publish", { body: { messages }, ...token });
    if (status !== 200) return numbers.map(() => answerOf(json, status));
    return (json["results"] as { error?: JsonResult }[]).map((result) =>
      outcomeOf(result.error ?? (result as JsonResult)),
    );
  }
}

export class GrpcDoor implements Door {
  readonly name: string;
  readonly size = 1;
  readonly ordered = false;
  readonly #options: DoorOptions;
  readonly #choice: GatewayChoice;
  readonly #clients = new Map<string, GrpcClient>();

  constructor(options: DoorOptions) {
    this.name = `grpc at ${options.home}`;
    this.#options = options;
    this.#choice = new GatewayChoice(options.gateways, options.home);
  }

  async publish([number = 0]: readonly number[]): Promise<readonly Outcome[]> {
    let last: Outcome = { kind: "broken", why: "no gateway" };
    for (let tries = this.#choice.tries; tries > 0; tries--) {
      const gateway = this.#choice.current;
      try {
        const { deliveredTo } = await grpcPublish(this.#client(gateway), requestOf(number, this.#options));
        return [{ kind: "taken", deliveredTo: Number(deliveredTo) }];
      } catch (error) {
        last = grpcFailure(error);
        if (!isSafeToRepeat(last)) {
          if (last.kind === "broken") this.#choice.leave(gateway);
          return [last];
        }
      }
      this.#choice.leave(gateway);
    }
    return [last];
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
  }

  #client(gateway: string): GrpcClient {
    const at = this.#options.gateways.grpc(gateway);
    const known = this.#clients.get(at);
    if (known !== undefined) return known;
    const client = new GrpcClient(at, this.#options.token);
    this.#clients.set(at, client);
    return client;
  }
}

function tokenOf({ token }: DoorOptions): { token?: string } {
  return token === undefined ? {} : { token };
}

function requestOf(number: number, options: DoorOptions) {
  const payload = JSON.stringify(payloadOf(number, options));
  return create(PublishRequestSchema, { topicId: options.topicId, content: { case: "payload", value: payload } });
}
