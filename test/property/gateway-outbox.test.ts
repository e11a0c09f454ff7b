// The outbox against a model: whatever comes in whatever order, and however the socket takes it.

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { SlowConsumer } from "#core/domain/topic.ts";
import { WEBSOCKET } from "../../gateway/fanout/encoding.ts";
import { Outbox } from "../../gateway/sessions/outbox.ts";
import { FakeSocket } from "../harness/fake-socket.ts";

const CAP = 1_000;
const CONTROL_CAP = 100_000;

type Step =
  | { readonly kind: "message"; readonly topic: string; readonly bytes: number }
  | { readonly kind: "control"; readonly bytes: number }
  | { readonly kind: "socket"; readonly open: boolean }
  | { readonly kind: "takeOnce" }
  | { readonly kind: "turn" };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("message" as const),
      topic: fc.constantFrom("a", "b", "c"),
      bytes: fc.integer({ min: 12, max: 400 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("control" as const), bytes: fc.integer({ min: 12, max: 200 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("socket" as const), open: fc.boolean() }) },
  { weight: 1, arbitrary: fc.constant({ kind: "takeOnce" as const }) },
  { weight: 2, arbitrary: fc.constant({ kind: "turn" as const }) },
);

const POLICIES: Readonly<Record<string, SlowConsumer>> = { a: "DropOldest", b: "DropNewest", c: "DropOldest" };

/** A token of exactly `bytes` bytes. */
function token(label: string, bytes: number): string {
  return `<${label.padEnd(bytes - 2, ".")}>`;
}

interface Told {
  readonly messages: Map<string, number[]>;
  readonly missed: Map<string, number>;
  readonly controls: number[];
  /** By topic: messages and gaps as they came, gaps as negative numbers. */
  readonly order: Map<string, number[]>;
}

function read(text: string): Told {
  const told: Told = { messages: new Map(), missed: new Map(), controls: [], order: new Map() };
  for (const [, label = ""] of text.matchAll(/<([^.>]*)\.*>/g)) {
    const [kind = "", topic = "", number = ""] = label.split(":");
    if (kind === "c") told.controls.push(Number(topic));
    if (kind === "m") told.messages.set(topic, [...(told.messages.get(topic) ?? []), Number(number)]);
    if (kind === "g") told.missed.set(topic, (told.missed.get(topic) ?? 0) + Number(number));
    if (kind === "m" || kind === "g") {
      const entry = kind === "g" ? -Number(number) : Number(number);
      told.order.set(topic, [...(told.order.get(topic) ?? []), entry]);
    }
  }
  return told;
}

async function play(steps: readonly Step[]) {
  const socket = new FakeSocket();
  let dropped = 0;
  const totals = {
    queuedBytes: 0,
    dropped: (_policy: SlowConsumer, count: number) => {
      dropped += count;
    },
  };
  const outbox = new Outbox(
    WEBSOCKET,
    socket,
    { limits: { unsentBytes: CAP, controlBytes: CONTROL_CAP }, totals },
    { gapFrame: (topicId, missed) => Buffer.from(token(`g:${topicId}:${missed}`, 20)), tooSlow: () => undefined },
  );
  const sent = new Map<string, number>();
  let controls = 0;
  for (const one of steps) {
    switch (one.kind) {
      case "message": {
        const number = (sent.get(one.topic) ?? 0) + 1;
        sent.set(one.topic, number);
        const wasIdle = outbox.clear && socket.writableLength === 0;
        const bytes = Buffer.from(token(`m:${one.topic}:${number}`, one.bytes));
        const taken = outbox.message({ id: one.topic, slowConsumer: POLICIES[one.topic] ?? "DropOldest" }, bytes);
        if (wasIdle) expect(taken).toBe(true);
        else if (taken) expect(socket.writableLength + outbox.queuedMessageBytes).toBeLessThanOrEqual(CAP);
        break;
      }
      case "control":
        controls += 1;
        outbox.control(Buffer.from(token(`c:${controls}`, one.bytes)));
        break;
      case "socket":
        socket.open = one.open;
        break;
      case "takeOnce":
        socket.takeOnce();
        break;
      case "turn":
        await new Promise((resolve) => setImmediate(resolve));
        break;
    }
    expect(outbox.queuedBytes).toBe(totals.queuedBytes);
    // What waits here of messages stays below the cap, whatever the socket holds.
    expect(outbox.queuedMessageBytes).toBeLessThanOrEqual(CAP);
  }
  socket.open = true;
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(outbox.queuedBytes).toBe(0);
  expect(outbox.clear).toBe(true);
  return { told: read(socket.text), sent, controls, dropped };
}

describe("an outbox", () => {
  it("keeps order, never drops control frames, and tells of every dropped message exactly once", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 120 }), async (steps) => {
        const { told, sent, controls, dropped } = await play(steps);
        expect(told.controls).toEqual(Array.from({ length: controls }, (_, index) => index + 1));
        let missed = 0;
        for (const [topic, count] of sent) {
          const heard = told.messages.get(topic) ?? [];
          expect(heard).toEqual(heard.toSorted((a, b) => a - b));
          expect(new Set(heard).size).toBe(heard.length);
          expect(heard.length + (told.missed.get(topic) ?? 0)).toBe(count);
          missed += told.missed.get(topic) ?? 0;
        }
        expect(missed).toBe(dropped);
      }),
      { numRuns: 300 },
    );
  });

  it("tells of a gap where the messages are missing: before the next one that is heard", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 120 }), async (steps) => {
        const { told } = await play(steps);
        for (const entries of told.order.values()) {
          let next = 1;
          for (const entry of entries) {
            if (entry < 0) next += -entry;
            else {
              expect(entry).toBe(next);
              next += 1;
            }
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});
