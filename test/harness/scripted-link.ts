// Owns: a gateway's end of a link for tests of routers: a real stream that says what the test says, and keeps every
// record. By itself it only beats and confirms batches, each of which can be turned off.

import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { type ClientStream, GrpcClient } from "#core/runtime/grpc.ts";
import {
  GatewayFrameSchema,
  type InterestConfirm,
  type InterestState,
  LinkService,
  type MissedRecords,
  type Record as ProtoRecord,
  RecordKind,
  RecordSchema,
  type RouterFrame,
  type RouterFrameSchema,
} from "#proto/earshot/internal/v1/link_pb.ts";
import { PEER_SECRET } from "./router-rig.ts";
import { until } from "./until.ts";

type Frame = NonNullable<MessageInitShape<typeof GatewayFrameSchema>["frame"]>;

export interface InterestInput {
  readonly topicId: string;
  readonly count: number;
  readonly presenceCount?: number;
}

export class ScriptedLink {
  readonly incarnation: string;
  readonly records: ProtoRecord[] = [];
  readonly batches: number[] = [];
  readonly confirms: InterestConfirm[] = [];
  readonly missed: MissedRecords[] = [];
  helloOf: string | undefined;
  draining = false;
  /** Heartbeats of the router. */
  beats = 0;
  /** Ended by the router: well, or with this error. */
  over: "well" | Error | undefined;
  confirming = true;
  beating = true;
  /** Answers receipts with this; undefined: says nothing. */
  receipt: ((record: ProtoRecord) => { written: number; notWritten?: Record<string, number> } | undefined) | undefined;
  readonly #client: GrpcClient;
  readonly #stream: ClientStream<typeof GatewayFrameSchema, typeof RouterFrameSchema>;
  readonly #beats: NodeJS.Timeout;
  #number = 0n;
  #heldConfirm = 0n;

  constructor(address: string, incarnation: string, options: { readonly hello?: boolean } = {}) {
    this.incarnation = incarnation;
    this.#client = new GrpcClient(address, PEER_SECRET);
    this.#stream = this.#client.bidi(LinkService.method.open);
    this.#stream.on("data", (frame) => this.#onFrame(frame));
    this.#stream.on("error", (error) => (this.over ??= error));
    this.#stream.on("end", () => (this.over ??= "well"));
    this.#beats = setInterval(() => {
      if (this.beating) this.send({ case: "heartbeat", value: {} });
    }, 500);
    if (options.hello === false) return;
    this.send({ case: "hello", value: { protocolVersion: 1, incarnation, name: `name-of-${incarnation}` } });
  }

  /** Texts of the envelopes of messages, parsed. */
  get messages(): readonly Record<string, unknown>[] {
    return this.#envelopes(RecordKind.UNSPECIFIED);
  }

  get presence(): readonly Record<string, unknown>[] {
    return this.#envelopes(RecordKind.PRESENCE);
  }

  get missedCount(): number {
    return this.missed.reduce((sum, { count }) => sum + count, 0);
  }

  send(frame: Frame): void {
    if (this.over === undefined) this.#stream.write(create(GatewayFrameSchema, { frame }));
  }

  /** Sends one batch of interests; resolves with its confirm's states. */
  async interest(interests: readonly InterestInput[], initialComplete = false): Promise<readonly InterestState[]> {
    this.#number += 1n;
    const number = this.#number;
    this.send({
      case: "interest",
      value: { number, initialComplete, interests: interests.map((one) => ({ ...one })) },
    });
    return until(() => this.confirms.find((confirm) => confirm.number === number)?.states, "an interest is confirmed");
  }

  /** Stops reading, as a process that is stuck does (its connection stays). */
  freeze(): void {
    this.#stream.pause();
  }

  thaw(): void {
    this.#stream.resume();
  }

  /** Confirms what came while `confirming` was false. */
  confirmHeld(): void {
    this.send({ case: "batchConfirm", value: { number: this.#heldConfirm } });
  }

  close(): void {
    clearInterval(this.#beats);
    this.#stream.on("error", () => undefined);
    this.#stream.cancel();
    this.#client.close();
  }

  #onFrame({ frame }: RouterFrame): void {
    switch (frame.case) {
      case "hello":
        this.helloOf = frame.value.incarnation;
        return;
      case "confirm":
        this.confirms.push(frame.value);
        return;
      case "batch":
        this.batches.push(frame.value.records.length);
        for (const bytes of frame.value.records) this.#onRecord(fromBinary(RecordSchema, bytes));
        this.#heldConfirm = frame.value.number;
        if (this.confirming) this.confirmHeld();
        return;
      case "overflow":
        this.missed.push(...frame.value.missed);
        return;
      case "draining":
        this.draining = true;
        return;
      case "heartbeat":
        this.beats += 1;
        return;
      case undefined:
        return;
    }
  }

  #onRecord(record: ProtoRecord): void {
    this.records.push(record);
    if (record.receiptId === 0n) return;
    const receipt = this.receipt?.(record);
    if (receipt === undefined) return;
    const { written, notWritten = {} } = receipt;
    this.send({ case: "receipts", value: { receipts: [{ receiptId: record.receiptId, written, notWritten }] } });
  }

  #envelopes(kind: RecordKind): readonly Record<string, unknown>[] {
    return this.records
      .filter((record) => record.kind === kind)
      .map((record) => JSON.parse(Buffer.from(record.envelope).toString()) as Record<string, unknown>);
  }
}
