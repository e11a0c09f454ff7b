// Owns: what waits for one connection, in order: control frames, messages, and gaps in the place of messages that were
// dropped. A topic's own entries are found without looking through the others'. Pure. Called by outbox.ts alone.
// Invariant: neighbouring gaps of a topic are one; every dropped message is counted in exactly one gap.

export interface QueuedEntry {
  /** Undefined for control frames. */
  readonly topic: QueuedTopic | undefined;
  /** Undefined for a gap, whose frame is made when it is sent. */
  bytes: Buffer | undefined;
  /** Messages that a gap stands for; 0 with no bytes: another gap took this one up. */
  missed: number;
}

/** What waits of one topic: entries themselves, since places in the whole queue move. */
interface QueuedTopic {
  readonly id: string;
  readonly entries: QueuedEntry[];
  bytes: number;
}

/** Places that were left or sent before the array is packed. */
const HOLES_MAX = 1_024;

export class OutboxQueue {
  messageBytes = 0;
  controlBytes = 0;
  #entries: QueuedEntry[] = [];
  #head = 0;
  /** Entries behind the head that another gap took up. */
  #holes = 0;
  readonly #topics = new Map<string, QueuedTopic>();

  get length(): number {
    return this.#entries.length - this.#head - this.#holes;
  }

  /** Bytes of messages of a topic. */
  bytesOf(topicId: string): number {
    return this.#topics.get(topicId)?.bytes ?? 0;
  }

  pushControl(bytes: Buffer): void {
    this.controlBytes += bytes.length;
    this.#entries.push({ topic: undefined, bytes, missed: 0 });
  }

  pushMessage(topicId: string, bytes: Buffer): void {
    const topic = this.#topic(topicId);
    topic.bytes += bytes.length;
    this.messageBytes += bytes.length;
    this.#push(topic, { topic, bytes, missed: 0 });
  }

  /** Counts one message that was dropped on arrival: behind everything that waits of its topic. */
  miss(topicId: string): void {
    const topic = this.#topic(topicId);
    const last = topic.entries.at(-1);
    if (last !== undefined && isGap(last)) last.missed += 1;
    else this.#push(topic, { topic, bytes: undefined, missed: 1 });
  }

  /** Drops a topic's oldest message; a gap takes its place. Returns its bytes; 0 when there is none. */
  dropOldest(topicId: string): number {
    const topic = this.#topic(topicId);
    const [first] = topic.entries;
    const gapBefore = first !== undefined && isGap(first) ? first : undefined;
    const oldest = topic.entries[gapBefore === undefined ? 0 : 1];
    if (oldest?.bytes === undefined) return 0;
    const { length } = oldest.bytes;
    oldest.bytes = undefined;
    oldest.missed = 1;
    topic.bytes -= length;
    this.messageBytes -= length;
    if (gapBefore !== undefined) this.#merge(topic, gapBefore);
    this.#merge(topic, gapBefore ?? oldest);
    this.#pack();
    return length;
  }

  /** The next to send, or undefined. */
  shift(): QueuedEntry | undefined {
    for (;;) {
      const entry = this.#entries[this.#head];
      if (entry === undefined) return undefined;
      this.#head += 1;
      if (isHole(entry)) {
        this.#holes -= 1;
        continue;
      }
      this.#sent(entry);
      this.#pack();
      return entry;
    }
  }

  #topic(topicId: string): QueuedTopic {
    let topic = this.#topics.get(topicId);
    if (topic === undefined) {
      topic = { id: topicId, entries: [], bytes: 0 };
      this.#topics.set(topicId, topic);
    }
    return topic;
  }

  #push(topic: QueuedTopic, entry: QueuedEntry): void {
    topic.entries.push(entry);
    this.#entries.push(entry);
  }

  /** Lets a topic's first gap take up the one right behind it, if there is one. */
  #merge(topic: QueuedTopic, gap: QueuedEntry): void {
    const next = topic.entries[1];
    if (topic.entries[0] !== gap || next === undefined || !isGap(next)) return;
    gap.missed += next.missed;
    next.missed = 0;
    topic.entries.splice(1, 1);
    this.#holes += 1;
  }

  #sent({ topic, bytes }: QueuedEntry): void {
    const length = bytes?.length ?? 0;
    if (topic === undefined) {
      this.controlBytes -= length;
      return;
    }
    topic.entries.shift();
    topic.bytes -= length;
    this.messageBytes -= length;
  }

  #pack(): void {
    const left = this.#head + this.#holes;
    if (left < HOLES_MAX || left * 2 < this.#entries.length) return;
    this.#entries = this.#entries.slice(this.#head).filter((entry) => !isHole(entry));
    this.#head = 0;
    this.#holes = 0;
  }
}

function isGap(entry: QueuedEntry): boolean {
  return entry.bytes === undefined;
}

function isHole(entry: QueuedEntry): boolean {
  return entry.bytes === undefined && entry.missed === 0;
}
