// Owns: speaking: one message, over gRPC, with a deadline; a sentence in the log when that begins to fail and when it works
// again. One channel for all of them: gRPC connects again by itself, where a Service names several routers to another one.

import { create } from "@bufbuild/protobuf";
import { messageOf } from "#core/runtime/errors.ts";
import { GrpcClient } from "#core/runtime/grpc.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import type { CallerCredentials } from "#core/runtime/peer-identity.ts";
import { PublisherService, PublishRequestSchema } from "#proto/earshot/v1/publisher_pb.ts";
import { LATE_MS } from "./ledger.ts";

interface MouthOptions {
  /** `host:port` of PublisherService. */
  readonly address: string;
  readonly topicId: string;
  readonly credentials: CallerCredentials;
  readonly log: Log;
}

export class Mouth implements Component {
  readonly #client: GrpcClient;
  readonly #topicId: string;
  readonly #log: Log;
  #failing = false;

  constructor({ address, topicId, credentials, log }: MouthOptions) {
    this.#client = new GrpcClient(address, credentials);
    this.#topicId = topicId;
    this.#log = log;
  }

  /** Resolves with whether a router took it; never rejects. */
  async speak(payload: string): Promise<boolean> {
    const request = create(PublishRequestSchema, {
      topicId: this.#topicId,
      content: { case: "payload", value: payload },
    });
    try {
      await this.#client.unary(PublisherService.method.publish, request, LATE_MS);
      if (this.#failing) this.#log.info("publishes are taken again");
      this.#failing = false;
      return true;
    } catch (error) {
      if (!this.#failing) this.#log.warn({ cause: messageOf(error) }, "publish was not taken");
      this.#failing = true;
      return false;
    }
  }

  close(): Promise<void> {
    this.#client.close();
    return Promise.resolve();
  }
}
