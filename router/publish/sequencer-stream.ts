// Owns: one publish stream of an edge at the router: publishes in, outcomes out in batches that close themselves, beats
// both ways. Reading stops while too many outcomes wait to be read by the edge. Elsewhere: what a publish does
// (sequencer/sequencer.ts), which streams there are (publish-service.ts).

import { create, toBinary } from "@bufbuild/protobuf";
import { Heartbeat } from "#core/fleet/heartbeat.ts";
import { protoToOrder, refusalToOutcome, resultToOutcome } from "#core/fleet/publish-codec.ts";
import type { PublishOrder } from "#core/fleet/publish-order.ts";
import type { Clock } from "#core/runtime/clock.ts";
import type { ServerDuplexStream } from "#core/runtime/grpc.ts";
import {
  type Outcome,
  OutcomeBatchSchema,
  type PublishBatch,
  type Publish,
  type PublisherFrame,
  type SequencerFrame,
  SequencerFrameSchema,
} from "#proto/earshot/internal/v1/router_pb.ts";
import type { Sequenced } from "../sequencer/sequencer.ts";

export type PublishCall = ServerDuplexStream<PublisherFrame, SequencerFrame | Uint8Array>;

export interface SequencerStreamOptions {
  readonly call: PublishCall;
  readonly clock: Clock;
  readonly sequence: (order: PublishOrder) => Sequenced | Promise<Sequenced>;
  /** The edge was silent for too long. */
  readonly dead: () => void;
  /** A batch of publishes came. */
  readonly active: () => void;
}

/** Outcomes that wait to be read before no more publishes are: a second of one edge at full speed. */
export const OUTCOMES_MAX = 65_536;

/** Outcomes in one frame: 200 KB. */
const OUTCOMES_PER_FRAME = 4_096;

const HEARTBEAT = frame({ case: "heartbeat", value: { $typeName: "earshot.internal.v1.Heartbeat" } });
const DRAINING = frame({ case: "draining", value: { $typeName: "earshot.internal.v1.Draining" } });

export class SequencerStream {
  readonly #options: SequencerStreamOptions;
  readonly #heartbeat: Heartbeat;
  #outcomes: Outcome[] = [];
  /** Publishes without an outcome yet: they wait for receipts. */
  #unanswered = 0;
  #open = true;
  #writing = false;
  #flushDue = false;
  #paused = false;
  #draining = false;
  readonly #flush = (): void => this.#writeOutcomes();

  constructor(options: SequencerStreamOptions) {
    this.#options = options;
    this.#heartbeat = new Heartbeat({ clock: options.clock, send: () => this.send(HEARTBEAT), dead: options.dead });
    options.call.on("drain", this.#flush);
  }

  get open(): boolean {
    return this.#open;
  }

  /** Every publish that came was answered, and the answers are on their way. */
  get idle(): boolean {
    return this.#unanswered === 0 && this.#outcomes.length === 0 && !this.#writing;
  }

  /** Answers that wait to be written. */
  get outcomes(): number {
    return this.#outcomes.length;
  }

  heard(): void {
    this.#heartbeat.heard();
  }

  take({ publishes }: PublishBatch): void {
    this.#options.active();
    for (const publish of publishes) this.#takeOne(publish);
  }

  send(bytes: Uint8Array): void {
    if (this.#open) this.#options.call.write(bytes);
  }

  announceDraining(): void {
    if (this.#draining) return;
    this.#draining = true;
    this.send(DRAINING);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#heartbeat.stop();
    this.#options.call.end();
  }

  #takeOne(publish: Publish): void {
    const { id } = publish;
    const order = protoToOrder(publish);
    if (!order.ok) {
      this.#answer(refusalToOutcome(id, "invalid_request"));
      return;
    }
    const sequenced = this.#options.sequence(order.value);
    if (!(sequenced instanceof Promise)) {
      this.#answer(outcomeOf(id, sequenced));
      return;
    }
    this.#unanswered += 1;
    void sequenced.then((late) => {
      this.#unanswered -= 1;
      this.#answer(outcomeOf(id, late));
    });
  }

  #answer(outcome: Outcome): void {
    if (!this.#open) return;
    this.#outcomes.push(outcome);
    if (this.#outcomes.length >= OUTCOMES_MAX && !this.#paused) {
      this.#paused = true;
      this.#options.call.pause();
    }
    if (this.#flushDue || this.#writing) return;
    this.#flushDue = true;
    queueMicrotask(this.#flush);
  }

  #writeOutcomes(): void {
    this.#flushDue = false;
    const { call } = this.#options;
    if (!this.#open || this.#writing || this.#outcomes.length === 0 || call.writableNeedDrain) return;
    const rest = this.#outcomes.splice(OUTCOMES_PER_FRAME);
    const bytes = frame({ case: "outcomes", value: create(OutcomeBatchSchema, { outcomes: this.#outcomes }) });
    this.#outcomes = rest;
    this.#writing = true;
    call.write(bytes, () => {
      this.#writing = false;
      this.#resume();
      this.#writeOutcomes();
    });
  }

  #resume(): void {
    if (!this.#paused || this.#outcomes.length > OUTCOMES_MAX / 2) return;
    this.#paused = false;
    this.#heartbeat.heard();
    this.#options.call.resume();
  }
}

function outcomeOf(id: bigint, sequenced: Sequenced): Outcome {
  return sequenced.kind === "done" ? resultToOutcome(id, sequenced.result) : refusalToOutcome(id, sequenced.code);
}

function frame(value: SequencerFrame["frame"]): Uint8Array {
  return toBinary(SequencerFrameSchema, create(SequencerFrameSchema, { frame: value }));
}
