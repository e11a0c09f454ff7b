// Owns: the unary calls that an edge asks of the router a topic is placed at (counts, why nobody heard it, admission of
// channels). They only read, so a call that fails costs nothing but its answer; deadlines are short.

import { create, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import type { Router } from "../domain/shard-map.ts";
import { EarshotError } from "../runtime/errors.ts";
import { fromStatus, type GrpcClient } from "../runtime/grpc.ts";
import {
  CountSubscriptionsRequestSchema,
  DescribeTopicRequestSchema,
  type DescribeTopicResponse,
  RouterService,
} from "#proto/earshot/internal/v1/router_pb.ts";

/** Milliseconds a router may take to answer: it only looks things up. */
const CALL_MS = 1_000;

/** Topic ids in one CountSubscriptions call. */
const COUNTS_PER_CALL_MAX = 1_000;

export interface RouterCallsOptions {
  /** The router a topic id is placed at now. */
  readonly ownerOf: (topicId: string) => Router | undefined;
  readonly clientOf: (router: Router) => GrpcClient;
}

export type UnaryMethod<I extends DescMessage, O extends DescMessage> = Parameters<
  typeof GrpcClient.prototype.unary<I, O>
>[0];

export class RouterCalls {
  readonly #options: RouterCallsOptions;

  constructor(options: RouterCallsOptions) {
    this.#options = options;
  }

  /** One call to the router a topic id is placed at. Throws shard_unavailable, or what the router threw. */
  async call<I extends DescMessage, O extends DescMessage>(
    topicId: string,
    method: UnaryMethod<I, O>,
    request: MessageShape<I>,
  ): Promise<MessageShape<O>> {
    const router = this.#options.ownerOf(topicId);
    if (router === undefined) throw new EarshotError("shard_unavailable");
    return this.#ask(router, method, request);
  }

  describe(topicId: string): Promise<DescribeTopicResponse> {
    return this.call(topicId, RouterService.method.describeTopic, create(DescribeTopicRequestSchema, { topicId }));
  }

  /** Subscriptions of each id, in the order given; undefined where its router could not be asked. */
  async count(topicIds: readonly string[]): Promise<readonly (number | undefined)[]> {
    const counts: (number | undefined)[] = topicIds.map(() => undefined);
    const byRouter = new Map<string, { router: Router; places: number[] }>();
    for (const [place, topicId] of topicIds.entries()) {
      const router = this.#options.ownerOf(topicId);
      if (router === undefined) continue;
      const group = byRouter.get(router.incarnation) ?? { router, places: [] };
      byRouter.set(router.incarnation, group);
      group.places.push(place);
    }
    const asked = [...byRouter.values()].flatMap(({ router, places }) =>
      chunks(places).map((chunk) => this.#countInto(counts, router, topicIds, chunk)),
    );
    await Promise.all(asked);
    return counts;
  }

  async #countInto(
    counts: (number | undefined)[],
    router: Router,
    topicIds: readonly string[],
    places: readonly number[],
  ): Promise<void> {
    const request = create(CountSubscriptionsRequestSchema, { topicIds: places.map((place) => topicIds[place] ?? "") });
    try {
      const answer = await this.#ask(router, RouterService.method.countSubscriptions, request);
      for (const [index, place] of places.entries()) {
        const count = answer.counts[index];
        if (count !== undefined) counts[place] = Number(count);
      }
    } catch (error) {
      if (!(error instanceof EarshotError)) throw error;
    }
  }

  async #ask<I extends DescMessage, O extends DescMessage>(
    router: Router,
    method: UnaryMethod<I, O>,
    request: MessageShape<I>,
  ): Promise<MessageShape<O>> {
    try {
      return await this.#options.clientOf(router).unary(method, request, CALL_MS);
    } catch (error) {
      throw fromStatus(
        error,
        () => new EarshotError("shard_unavailable", "the router of this topic did not answer", { cause: error }),
      );
    }
  }
}

function chunks(places: readonly number[]): readonly (readonly number[])[] {
  const parts: (readonly number[])[] = [];
  for (let start = 0; start < places.length; start += COUNTS_PER_CALL_MAX) {
    parts.push(places.slice(start, start + COUNTS_PER_CALL_MAX));
  }
  return parts;
}
