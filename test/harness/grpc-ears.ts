// Owns: a gRPC subscriber for tests, with its events kept, and publishes over gRPC.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { GrpcClient } from "#core/runtime/grpc.ts";
import { PublisherService, PublishRequestSchema, type PublishResponse } from "#proto/earshot/v1/publisher_pb.ts";
import { SubscribeRequestSchema, type SubscribeResponse, SubscriberService } from "#proto/earshot/v1/subscriber_pb.ts";
import { until } from "./until.ts";

export type GrpcEvent = SubscribeResponse["event"];
type EventOf<Case extends string> = Extract<GrpcEvent, { case: Case }>["value"];

export interface GrpcStatus {
  readonly code: number;
  readonly details: string;
  readonly metadata: { get(name: string): unknown[] };
}

export class GrpcEars {
  readonly events: GrpcEvent[] = [];
  /** Resolves when the stream is over, whoever ended it. */
  readonly ended: Promise<GrpcStatus>;
  readonly #client: GrpcClient;
  readonly #call: { cancel(): void; pause(): unknown; resume(): unknown };
  readonly #listeners = new Set<(event: GrpcEvent) => void>();

  /** `at` is `host:port`, or a client whose connection other streams share. */
  constructor(
    at: string | GrpcClient,
    topicIds: readonly string[],
    options: { token?: string; presence?: boolean } = {},
  ) {
    this.#client = typeof at === "string" ? new GrpcClient(at, options.token) : at;
    const request = create(SubscribeRequestSchema, { topicIds: [...topicIds], presence: options.presence ?? false });
    const call = this.#client.serverStream(SubscriberService.method.subscribe, request);
    call.on("data", ({ event }: SubscribeResponse) => {
      this.events.push(event);
      for (const listener of this.#listeners) listener(event);
    });
    call.on("error", () => undefined);
    this.ended = new Promise((resolve) => call.on("status", resolve));
    this.#call = call;
  }

  on(listener: (event: GrpcEvent) => void): void {
    this.#listeners.add(listener);
  }

  of<Case extends NonNullable<GrpcEvent["case"]>>(wanted: Case): EventOf<Case>[] {
    return this.events.flatMap((event) => (event.case === wanted ? [event.value as EventOf<Case>] : []));
  }

  async next<Case extends NonNullable<GrpcEvent["case"]>>(wanted: Case, index = 0): Promise<EventOf<Case>> {
    await until(() => this.of(wanted).length > index, `${index + 1} events ${wanted} came`);
    return this.of(wanted)[index] as EventOf<Case>;
  }

  pause(): void {
    this.#call.pause();
  }

  resume(): void {
    this.#call.resume();
  }

  close(): void {
    this.#call.cancel();
    this.#client.close();
  }
}

/** Subscribes and waits for `subscribed` of every topic. */
export async function openGrpc(
  address: string,
  topicIds: readonly string[],
  options: { token?: string; presence?: boolean } = {},
): Promise<GrpcEars> {
  const ears = new GrpcEars(address, topicIds, options);
  await ears.next("subscribed", topicIds.length - 1);
  return ears;
}

export function grpcPublish(
  client: GrpcClient,
  request: MessageInitShape<typeof PublishRequestSchema>,
): Promise<PublishResponse> {
  return client.unary(PublisherService.method.publish, create(PublishRequestSchema, request), 10_000);
}
