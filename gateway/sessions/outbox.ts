// Owns: what one connection has not sent yet. A socket that keeps up is written to directly (the fan-out does that
// itself while `clear`); once it is behind, messages wait in a queue of ours, because bytes given to a socket cannot be
// dropped. At the cap the arriving message's Topic decides what is dropped; what was dropped is told by a `gap` in its
// place as soon as the socket takes bytes again. Invariants: control frames are never dropped (their own cap ends the
// connection), the order of what is sent is the order of what came, every dropped message is in exactly one gap.

import type { SlowConsumer } from "#core/domain/topic.ts";
import type { Encoding } from "../fanout/encoding.ts";
import { OutboxQueue } from "./outbox-queue.ts";

/** What an outbox needs of a socket (node:net, or the gRPC adapter). */
export interface OutboxSocket {
  /** Bytes given and not yet taken by the kernel. */
  readonly writableLength: number;
  /** `taken` is called when these bytes and all before them were taken, or with an error when the socket failed. */
  write(bytes: Uint8Array, taken?: (error?: Error | null) => void): boolean;
  cork(): void;
  uncork(): void;
}

/** What an outbox needs to know of the topic of a message. */
interface OutboxTopic {
  readonly id: string;
  readonly slowConsumer: SlowConsumer;
}

export interface OutboxOwner {
  /** Bytes of a `gap` notice. */
  gapFrame(topicId: string, missed: number): Buffer;
  /** The connection is too slow to be kept; called once, later than the call that found it out. */
  tooSlow(why: "policy" | "control"): void;
}

/** What all outboxes of a process share. */
export interface OutboxTotals {
  /** Bytes in queues. */
  queuedBytes: number;
  /** Messages dropped because a connection was behind, by what its Topic asks for. */
  dropped(policy: SlowConsumer, count: number): void;
}

export interface OutboxLimits {
  /** Bytes unsent, in the socket and here, from which messages are dropped. */
  readonly unsentBytes: number;
  /** Bytes of control frames waiting here, from which the connection ends. */
  readonly controlBytes: number;
}

/**
 * Bytes of control frames that may wait: 128 subscriptions with a first page of members each are below it, and who asks
 * for answers without reading them is not a client.
 */
export const CONTROL_UNSENT_BYTES_MAX = 1024 * 1024;

/** Bytes given to a socket at once from the queue: what is given can no longer be dropped. */
const FLUSH_BYTES = 64 * 1024;

const NOTHING = Buffer.alloc(0);

export class Outbox {
  readonly encoding: Encoding;
  readonly socket: OutboxSocket;
  /** Whether nothing waits here: then bytes may go straight to a socket that is not behind. */
  clear = true;
  readonly #limits: OutboxLimits;
  readonly #owner: OutboxOwner;
  readonly #totals: OutboxTotals;
  #state: "open" | "tooSlow" | "closed" = "open";
  #queue: OutboxQueue | undefined;

  constructor(
    encoding: Encoding,
    socket: OutboxSocket,
    shared: { limits: OutboxLimits; totals: OutboxTotals },
    owner: OutboxOwner,
  ) {
    this.encoding = encoding;
    this.socket = socket;
    this.#limits = shared.limits;
    this.#totals = shared.totals;
    this.#owner = owner;
  }

  /** Bytes waiting here. */
  get queuedBytes(): number {
    return this.#queue === undefined ? 0 : this.#queue.messageBytes + this.#queue.controlBytes;
  }

  /** Of these, bytes of messages. */
  get queuedMessageBytes(): number {
    return this.#queue?.messageBytes ?? 0;
  }

  /** Sends one message, now or later; false when it was dropped. */
  message(topic: OutboxTopic, bytes: Buffer): boolean {
    if (this.#state !== "open") return false;
    if (this.clear && this.socket.writableLength === 0) {
      this.socket.write(bytes);
      return true;
    }
    const queue = this.#waiting();
    if (this.#fits(queue, bytes)) {
      this.#pushMessage(queue, topic, bytes);
      return true;
    }
    return this.#overflow(queue, topic, bytes);
  }

  /** Sends a frame that is never dropped. */
  control(bytes: Buffer): void {
    if (this.#state === "closed") return;
    if (this.clear && this.socket.writableLength === 0) {
      this.socket.write(bytes);
      return;
    }
    const queue = this.#waiting();
    queue.pushControl(bytes);
    this.#totals.queuedBytes += bytes.length;
    if (queue.controlBytes > this.#limits.controlBytes) this.#tooSlow("control");
  }

  /** Gives everything that waits to the socket, whatever it takes: the last words before the connection ends. */
  flushAll(): void {
    if (this.#state === "open" && this.#queue !== undefined) this.#give(this.#queue, Number.POSITIVE_INFINITY);
    this.close();
  }

  /** Nothing more is sent; what waits is forgotten. */
  close(): void {
    this.#state = "closed";
    this.clear = false;
    this.#totals.queuedBytes -= this.queuedBytes;
    this.#queue = undefined;
  }

  #fits(queue: OutboxQueue, bytes: Buffer): boolean {
    return this.socket.writableLength + queue.messageBytes + bytes.length <= this.#limits.unsentBytes;
  }

  /** The queue, made when it is first needed, and told of by the socket when that has taken what it holds. */
  #waiting(): OutboxQueue {
    if (this.#queue !== undefined) return this.#queue;
    this.clear = false;
    this.#queue = new OutboxQueue();
    this.#await();
    return this.#queue;
  }

  #await(): void {
    this.socket.write(NOTHING, (error) => {
      // A socket that failed closes soon, which closes this.
      if (error || this.#state === "closed" || this.#queue === undefined) return;
      this.#flush(this.#queue);
    });
  }

  #pushMessage(queue: OutboxQueue, topic: OutboxTopic, bytes: Buffer): void {
    queue.pushMessage(topic.id, bytes);
    this.#totals.queuedBytes += bytes.length;
  }

  #overflow(queue: OutboxQueue, topic: OutboxTopic, bytes: Buffer): boolean {
    this.#totals.dropped(topic.slowConsumer, 1);
    switch (topic.slowConsumer) {
      case "DropOldest":
        return this.#dropOldest(queue, topic, bytes);
      case "DropNewest":
        queue.miss(topic.id);
        return false;
      case "Disconnect":
        this.#tooSlow("policy");
        return false;
    }
  }

  /** Makes room from the topic's own messages; where all of them would not be enough, the new one is dropped. */
  #dropOldest(queue: OutboxQueue, topic: OutboxTopic, bytes: Buffer): boolean {
    const over = this.socket.writableLength + queue.messageBytes + bytes.length - this.#limits.unsentBytes;
    if (queue.bytesOf(topic.id) < over) {
      queue.miss(topic.id);
      return false;
    }
    let dropped = 0;
    while (!this.#fits(queue, bytes)) {
      this.#totals.queuedBytes -= queue.dropOldest(topic.id);
      dropped += 1;
    }
    if (dropped > 1) this.#totals.dropped(topic.slowConsumer, dropped - 1);
    this.#pushMessage(queue, topic, bytes);
    return true;
  }

  #tooSlow(why: "policy" | "control"): void {
    if (this.#state !== "open") return;
    this.#state = "tooSlow";
    setImmediate(() => this.#owner.tooSlow(why));
  }

  #flush(queue: OutboxQueue): void {
    while (queue.length > 0 && this.socket.writableLength === 0) this.#give(queue, FLUSH_BYTES);
    if (queue.length > 0) this.#await();
    else {
      this.#queue = undefined;
      this.clear = this.#state === "open";
    }
  }

  #give(queue: OutboxQueue, limitBytes: number): void {
    let given = 0;
    this.socket.cork();
    for (let entry = queue.shift(); entry !== undefined; entry = given < limitBytes ? queue.shift() : undefined) {
      const bytes = entry.bytes ?? this.#owner.gapFrame(entry.topic?.id ?? "", entry.missed);
      if (entry.bytes !== undefined) this.#totals.queuedBytes -= bytes.length;
      given += bytes.length;
      this.socket.write(bytes);
    }
    this.socket.uncork();
  }
}
