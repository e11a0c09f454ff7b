import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Outbox } from "../../router/links/outbox.ts";
import type { QueuedRecord } from "../../router/record.ts";
import { batchHeadSize } from "../../router/links/wire.ts";

const BYTES_MAX = 1_000;
const AGE_MS_MAX = 100;

type Step =
  | {
      readonly do: "push";
      readonly bytes: number;
      readonly kind: "low" | "normal" | "evict";
      readonly inFlight: number;
    }
  | { readonly do: "take"; readonly bytesMax: number }
  | { readonly do: "wait"; readonly ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("push" as const),
      bytes: fc.integer({ min: 1, max: 400 }),
      kind: fc.constantFrom("low" as const, "normal" as const, "normal" as const, "evict" as const),
      inFlight: fc.constantFrom(0, 0, 300, 900),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("take" as const), bytesMax: fc.integer({ min: 1, max: 600 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.nat(80) }) },
);

function sizeOf(queue: readonly QueuedRecord[]): number {
  return queue.reduce((sum, { framed }) => sum + framed.length, 0);
}

/** The same rules in the plainest words. */
class Model {
  queue: QueuedRecord[] = [];
  readonly dropped: QueuedRecord[] = [];

  push(record: QueuedRecord, inFlight: number): boolean {
    this.queue.push(record);
    while (this.queue.length > 0 && sizeOf(this.queue) + inFlight > BYTES_MAX) {
      const goes =
        this.queue.find(({ low }) => low) ?? this.queue.find(({ kind }) => kind !== "evict") ?? this.queue[0];
      if (goes !== undefined) this.#drop(goes);
    }
    return this.queue.includes(record);
  }

  take(bytesMax: number): readonly QueuedRecord[] {
    let bytes = 0;
    let count = 0;
    for (const { framed } of this.queue) {
      if (count > 0 && bytes + framed.length > bytesMax) break;
      bytes += framed.length;
      count += 1;
    }
    return this.queue.splice(0, count);
  }

  dropOld(nowMs: number): void {
    for (const record of this.queue) {
      if (record.atMs < nowMs - AGE_MS_MAX && record.kind !== "evict") this.#drop(record);
    }
  }

  #drop(record: QueuedRecord): void {
    this.queue = this.queue.filter((other) => other !== record);
    this.dropped.push(record);
  }
}

test("a full outbox lets go of Low first, then of the oldest, of evictions last, and stays in order and below its cap", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const dropped: QueuedRecord[] = [];
      const outbox = new Outbox({ bytesMax: BYTES_MAX, ageMsMax: AGE_MS_MAX }, (record) => dropped.push(record));
      const model = new Model();
      let nowMs = 0;
      let number = 0;
      for (const taken of steps) {
        switch (taken.do) {
          case "push": {
            number += 1;
            const record: QueuedRecord = {
              framed: Buffer.alloc(taken.bytes, number),
              topicId: "shop.chat",
              kind: taken.kind === "evict" ? "evict" : "message",
              low: taken.kind === "low",
              atMs: nowMs,
              receiptId: 0,
            };
            expect(outbox.push(record, taken.inFlight)).toBe(model.push(record, taken.inFlight));
            break;
          }
          case "take": {
            const batch = outbox.takeFrame(1, taken.bytesMax);
            const records = model.take(taken.bytesMax);
            expect(batch?.records ?? 0).toBe(records.length);
            const bytes = Buffer.concat(records.map(({ framed }) => framed));
            expect(batch?.frame.subarray(batchHeadSize(1, bytes.length)) ?? Buffer.alloc(0)).toEqual(bytes);
            break;
          }
          case "wait":
            nowMs += taken.ms;
            outbox.dropOld(nowMs);
            model.dropOld(nowMs);
            break;
        }
        expect(outbox.size).toBe(model.queue.length);
        expect(outbox.bytes).toBe(sizeOf(model.queue));
        expect(dropped).toEqual(model.dropped);
      }
    }),
    { numRuns: 500 },
  );
});

test("records that are pushed and dropped for ever behind one that stays leave no holes behind", () => {
  const outbox = new Outbox({ bytesMax: 1_000, ageMsMax: 1_000_000 }, () => undefined);
  const evict: QueuedRecord = {
    framed: Buffer.alloc(900),
    topicId: "a.b",
    kind: "evict",
    low: false,
    atMs: 0,
    receiptId: 0,
  };
  outbox.push(evict, 0);
  const low: QueuedRecord = {
    framed: Buffer.alloc(90),
    topicId: "a.b",
    kind: "message",
    low: true,
    atMs: 0,
    receiptId: 0,
  };
  const startedAtMs = performance.now();
  for (let index = 0; index < 200_000; index++) outbox.push(low, 0);
  expect(outbox.size).toBe(2);
  // Walking over 200,000 holes for each would take minutes.
  expect(performance.now() - startedAtMs).toBeLessThan(5_000);
});
