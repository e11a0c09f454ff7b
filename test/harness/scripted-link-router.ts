// Owns: a router for tests of gateways: a real gRPC server that speaks LinkService as a script says: it confirms interest
// or holds it back, speaks records, drains, falls silent, ends links. Keeps everything that a gateway told it.

import { create, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import type { Router } from "#core/domain/shard-map.ts";
import { bindService, createGrpcServer, listenGrpc, type ServerDuplexStream } from "#core/runtime/grpc.ts";
import { secretIdentity } from "#core/runtime/peer-identity.ts";
import {
  EvictionSchema,
  type GatewayFrame,
  type GatewayReceipt,
  type InterestBatch,
  LinkService,
  RecordKind,
  RecordSchema,
  type RouterFrame,
  RouterFrameSchema,
} from "#proto/earshot/internal/v1/link_pb.ts";
import { routerAt } from "./hand-map.ts";
import { until } from "./until.ts";

type Call = ServerDuplexStream<GatewayFrame, RouterFrame | Uint8Array>;

export interface Spoken {
  readonly payload?: unknown;
  readonly origin?: string;
  readonly exclude?: string;
  readonly receiptId?: bigint;
}

interface Known {
  count: number;
  presenceCount: number;
}

export class ScriptedLinkRouter {
  readonly router: Router;
  /** By topic id: what the gateway said last. */
  readonly interests = new Map<string, Known>();
  readonly interestBatches: InterestBatch[] = [];
  readonly receipts: GatewayReceipt[] = [];
  readonly batchConfirms: bigint[] = [];
  /** Links that were ever opened. */
  opened = 0;
  /** False: confirms are kept until `confirmHeld`. */
  confirms = true;
  /** False: it sends nothing at all, as one that hangs. */
  speaks = true;
  /** Most subscriptions of one topic that it grants. */
  grants = Number.POSITIVE_INFINITY;
  /** Topics' `seq`, and when something was last spoken (performance.now). */
  readonly seqs = new Map<string, number>();
  readonly spokenAtMs = new Map<string, number>();
  #held: { readonly call: Call; readonly batch: InterestBatch; states?: ReturnType<ScriptedLinkRouter["statesOf"]> }[] =
    [];
  readonly #calls = new Set<Call>();
  readonly #server: ReturnType<typeof createGrpcServer>;
  readonly #beating: NodeJS.Timeout;
  #message = 0;
  #batch = 0n;

  private constructor(incarnation: string, server: ReturnType<typeof createGrpcServer>, address: string) {
    this.router = routerAt(incarnation, address);
    this.#server = server;
    this.#beating = setInterval(() => this.#broadcast({ case: "heartbeat", value: {} }), 500);
  }

  static async listen(incarnation: string, peerSecret: string): Promise<ScriptedLinkRouter> {
    const server = createGrpcServer({ judge: secretIdentity(peerSecret).judge });
    const found: { router?: ScriptedLinkRouter } = {};
    bindService(server, LinkService, { open: (call) => found.router?.serve(call) });
    const port = await listenGrpc(server, "127.0.0.1", 0);
    found.router = new ScriptedLinkRouter(incarnation, server, `127.0.0.1:${port}`);
    return found.router;
  }

  serve(call: Call): void {
    this.opened += 1;
    this.#calls.add(call);
    call.on("error", () => undefined);
    call.on("cancelled", () => this.#calls.delete(call));
    call.on("end", () => this.#calls.delete(call));
    call.on("data", ({ frame }: GatewayFrame) => this.#receive(call, frame));
  }

  get links(): number {
    return this.#calls.size;
  }

  /** Resolves when the gateway's count of a topic is as wanted. */
  async interest(topicId: string, count: number): Promise<void> {
    await until(() => (this.interests.get(topicId)?.count ?? 0) === count, `interest in ${topicId} is ${count}`);
  }

  confirmHeld(): void {
    this.confirms = true;
    for (const { call, batch, states } of this.#held.splice(0)) this.#confirm(call, batch, states);
  }

  /** What is held takes effect now: the confirm that comes later tells how the topics stand at this moment. */
  applyHeld(): void {
    for (const held of this.#held) held.states = this.statesOf(held.batch);
  }

  /** Speaks one message, or several in one batch. */
  speak(topicId: string, ...messages: readonly Spoken[]): void {
    this.#batch += 1n;
    const records = messages.map((message) => this.#record(topicId, message));
    this.#broadcast({ case: "batch", value: { number: this.#batch, records } });
  }

  /** Something is spoken that no link carries: the gateway is not linked, or not interested yet. */
  speakUnheard(topicId: string): void {
    this.#record(topicId, {});
  }

  presence(topicId: string, json: string): void {
    this.#batch += 1n;
    const record = create(RecordSchema, { topicId, envelope: Buffer.from(json), kind: RecordKind.PRESENCE });
    this.#broadcast({ case: "batch", value: { number: this.#batch, records: [toBinary(RecordSchema, record)] } });
  }

  evict(topicId: string, eviction: MessageInitShape<typeof EvictionSchema>, receiptId = 0n): void {
    this.#batch += 1n;
    const envelope = toBinary(EvictionSchema, create(EvictionSchema, eviction));
    const record = create(RecordSchema, { topicId, envelope, kind: RecordKind.EVICT, receiptId });
    this.#broadcast({ case: "batch", value: { number: this.#batch, records: [toBinary(RecordSchema, record)] } });
  }

  overflow(topicId: string, count: number): void {
    this.#broadcast({ case: "overflow", value: { missed: [{ topicId, count }] } });
  }

  /** Says that it drains. */
  drain(): void {
    this.#broadcast({ case: "draining", value: {} });
  }

  /** Ends every link in order. */
  endLinks(): void {
    for (const call of this.#calls) call.end();
    this.#calls.clear();
  }

  /** Dies: every connection breaks. */
  close(): Promise<void> {
    clearInterval(this.#beating);
    this.#calls.clear();
    this.#server.forceShutdown();
    return Promise.resolve();
  }

  #receive(call: Call, frame: GatewayFrame["frame"]): void {
    switch (frame.case) {
      case "hello":
        this.#send(call, { case: "hello", value: { protocolVersion: 1, incarnation: this.router.incarnation } });
        return;
      case "interest":
        this.#interest(call, frame.value);
        return;
      case "receipts":
        this.receipts.push(...frame.value.receipts);
        return;
      case "batchConfirm":
        this.batchConfirms.push(frame.value.number);
        return;
      case "heartbeat":
      case undefined:
        return;
    }
  }

  #interest(call: Call, batch: InterestBatch): void {
    this.interestBatches.push(batch);
    for (const { topicId, count, presenceCount } of batch.interests) {
      this.interests.set(topicId, { count, presenceCount });
    }
    if (this.confirms) this.#confirm(call, batch);
    else this.#held.push({ call, batch });
  }

  #confirm(call: Call, batch: InterestBatch, states = this.statesOf(batch)): void {
    this.#send(call, { case: "confirm", value: { number: batch.number, states } });
  }

  statesOf(batch: InterestBatch) {
    return batch.interests.map(({ topicId, count }) => {
      const spokenAtMs = this.spokenAtMs.get(topicId);
      const ago = spokenAtMs === undefined ? {} : { lastSpokenMsAgo: Math.round(performance.now() - spokenAtMs) };
      const granted = Math.min(count, this.grants);
      return {
        topicId,
        seq: BigInt(this.seqs.get(topicId) ?? 0),
        total: BigInt(granted),
        granted,
        refusal: granted < count ? "topic_full" : "",
        ...ago,
      };
    });
  }

  #record(topicId: string, { payload = null, origin = "", exclude = "", receiptId = 0n }: Spoken): Uint8Array {
    this.#message += 1;
    const seq = (this.seqs.get(topicId) ?? 0) + 1;
    this.seqs.set(topicId, seq);
    this.spokenAtMs.set(topicId, performance.now());
    const head = `"topic_id":"${topicId}","message_id":"${this.router.incarnation}-${this.#message}","seq":${seq}`;
    const rest = `"publisher_id":"bob","timestamp":"2026-01-01T00:00:00.000Z","payload":${JSON.stringify(payload)}`;
    const record = create(RecordSchema, {
      topicId,
      envelope: Buffer.from(`{"type":"message",${head},${rest}}`),
      seq: BigInt(seq),
      receiptId,
      originConnectionId: origin,
      excludeConnectionId: exclude,
      routerTimeMs: BigInt(Date.now()),
    });
    return toBinary(RecordSchema, record);
  }

  #broadcast(frame: NonNullable<MessageInitShape<typeof RouterFrameSchema>["frame"]>): void {
    for (const call of this.#calls) this.#send(call, frame);
  }

  #send(call: Call, frame: NonNullable<MessageInitShape<typeof RouterFrameSchema>["frame"]>): void {
    if (this.speaks) call.write(create(RouterFrameSchema, { frame }));
  }
}
