// Owns: a router for tests of those who publish: a real gRPC server that speaks PublishStream as a script says, and
// keeps every publish that ever reached it.

import { create } from "@bufbuild/protobuf";
import { refusalToOutcome, resultToOutcome, WRONG_ROUTER } from "#core/fleet/publish-codec.ts";
import { bindService, createGrpcServer, listenGrpc, type ServerDuplexStream } from "#core/runtime/grpc.ts";
import { secretIdentity } from "#core/runtime/peer-identity.ts";
import {
  AdmitChannelResponseSchema,
  CountSubscriptionsResponseSchema,
  DescribeTopicResponseSchema,
  type Outcome,
  type Publish,
  type PublisherFrame,
  RouterService,
  type SequencerFrame,
  SequencerFrameSchema,
} from "#proto/earshot/internal/v1/router_pb.ts";
import type { Router } from "#core/domain/shard-map.ts";
import { routerAt } from "./hand-map.ts";

/** What to do with one publish: answer it, refuse it unhandled, or say nothing (`answerHeld` answers later). */
export type Deed = "answer" | "wrong_router" | "hold";

type Call = ServerDuplexStream<PublisherFrame, SequencerFrame | Uint8Array>;

export class ScriptedRouter {
  readonly received: Publish[] = [];
  /** Publishes in each batch, in the order they came. */
  readonly batches: number[] = [];
  readonly held: { readonly call: Call; readonly publish: Publish }[] = [];
  readonly router: Router;
  deed: (publish: Publish) => Deed = () => "answer";
  /** Whether it sends heartbeats and hellos; else it is as one that hangs. */
  speaks = true;
  incarnationTold: string;
  readonly #calls = new Set<Call>();
  readonly #server: ReturnType<typeof createGrpcServer>;
  readonly #beating: NodeJS.Timeout;
  #sequence = 0n;

  private constructor(incarnation: string, server: ReturnType<typeof createGrpcServer>, address: string) {
    this.router = routerAt(incarnation, address);
    this.incarnationTold = incarnation;
    this.#server = server;
    this.#beating = setInterval(() => {
      if (this.speaks) this.#broadcast({ case: "heartbeat", value: { $typeName: "earshot.internal.v1.Heartbeat" } });
    }, 500);
  }

  static async listen(incarnation: string, peerSecret: string, port = 0): Promise<ScriptedRouter> {
    const server = createGrpcServer({ judge: secretIdentity(peerSecret).judge });
    // The handlers are bound before the port is known, so they find the router here.
    const found: { router?: ScriptedRouter } = {};
    bindService(server, RouterService, {
      publishStream: (call) => found.router?.serve(call),
      describeTopic: async () => create(DescribeTopicResponseSchema, { shard: 7, epoch: 1n, seq: 3n }),
      countSubscriptions: async (request) =>
        create(CountSubscriptionsResponseSchema, { counts: request.topicIds.map((id) => BigInt(id.length)) }),
      admitChannel: async () => create(AdmitChannelResponseSchema, { admitted: true }),
    });
    const bound = await listenGrpc(server, "127.0.0.1", port);
    found.router = new ScriptedRouter(incarnation, server, `127.0.0.1:${bound}`);
    return found.router;
  }

  get streams(): number {
    return this.#calls.size;
  }

  get topics(): readonly string[] {
    return this.received.map((publish) => publish.topicId);
  }

  serve(call: Call): void {
    this.#calls.add(call);
    call.on("error", () => this.#calls.delete(call));
    call.on("cancelled", () => this.#calls.delete(call));
    call.on("end", () => {
      this.#calls.delete(call);
      call.end();
    });
    call.on("data", ({ frame }) => {
      if (frame.case === "hello" && this.speaks) {
        const value = { protocolVersion: 1, incarnation: this.incarnationTold, name: this.router.name };
        this.#write(call, { case: "hello", value: { $typeName: "earshot.internal.v1.PublisherHello", ...value } });
      }
      if (frame.case === "batch") this.#onBatch(call, frame.value.publishes);
    });
  }

  answerHeld(): void {
    const answers = new Map<Call, Outcome[]>();
    for (const { call, publish } of this.held.splice(0)) {
      const outcomes = answers.get(call) ?? [];
      answers.set(call, outcomes);
      outcomes.push(this.#answerTo(publish));
    }
    for (const [call, outcomes] of answers) this.#outcomes(call, outcomes);
  }

  drain(): void {
    this.#broadcast({ case: "draining", value: { $typeName: "earshot.internal.v1.Draining" } });
  }

  /** Ends everything at once, as a killed process does. */
  kill(): void {
    clearInterval(this.#beating);
    this.#server.forceShutdown();
  }

  #onBatch(call: Call, publishes: readonly Publish[]): void {
    this.batches.push(publishes.length);
    const outcomes: Outcome[] = [];
    for (const publish of publishes) {
      this.received.push(publish);
      switch (this.deed(publish)) {
        case "answer":
          outcomes.push(this.#answerTo(publish));
          break;
        case "wrong_router":
          outcomes.push(refusalToOutcome(publish.id, WRONG_ROUTER));
          break;
        case "hold":
          this.held.push({ call, publish });
          break;
      }
    }
    if (outcomes.length > 0) this.#outcomes(call, outcomes);
  }

  #answerTo(publish: Publish): Outcome {
    this.#sequence += 1n;
    const messageId = `${this.router.incarnation}-${this.#sequence}`;
    return resultToOutcome(publish.id, {
      messageId,
      deliveredTo: 1,
      exact: false,
      dropped: false,
      reason: undefined,
      notDelivered: {},
    });
  }

  #outcomes(call: Call, outcomes: Outcome[]): void {
    this.#write(call, { case: "outcomes", value: { $typeName: "earshot.internal.v1.OutcomeBatch", outcomes } });
  }

  #broadcast(frame: SequencerFrame["frame"]): void {
    for (const call of this.#calls) this.#write(call, frame);
  }

  #write(call: Call, frame: SequencerFrame["frame"]): void {
    call.write(create(SequencerFrameSchema, { frame }));
  }
}
