// Who comes and goes while a fan-out is under way: nobody is skipped, nobody hears anything twice or out of order.

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseTopicId } from "#core/domain/topic-id.ts";
import { WEBSOCKET } from "../../gateway/fanout/encoding.ts";
import { FanOut } from "../../gateway/fanout/fan-out.ts";
import { Flight } from "../../gateway/fanout/flight.ts";
import { LocalTopic } from "../../gateway/fanout/local-topic.ts";
import { Subscription } from "../../gateway/fanout/subscription.ts";
import { Outbox } from "../../gateway/sessions/outbox.ts";
import { FakeSocket } from "../harness/fake-socket.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { topicOf } from "../harness/http-door.ts";

type Step =
  | { readonly kind: "join"; readonly topic: number; readonly count: number }
  | { readonly kind: "part"; readonly who: number }
  | { readonly kind: "speak"; readonly topic: number }
  | { readonly kind: "turn" };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("join" as const),
      topic: fc.nat(1),
      count: fc.integer({ min: 1, max: 40 }),
    }),
  },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("part" as const), who: fc.nat(2_000) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("speak" as const), topic: fc.nat(1) }) },
  { weight: 4, arbitrary: fc.constant({ kind: "turn" as const }) },
);

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function topicNamed(id: string): LocalTopic {
  const parsed = parseTopicId(id);
  if (!parsed.ok) throw new Error(parsed.reason);
  return new LocalTopic(parsed.value, topicOf(parsed.value.topic));
}

interface Ear {
  readonly subscription: Subscription;
  readonly topic: number;
  readonly heard: number[];
  /** Of its topic: the first number spoken after it asked to join. */
  readonly from: number;
  state: "waiting" | "in" | "left";
  /** Of its topic: the first number spoken after it left. */
  until: number;
}

async function play(steps: readonly Step[]): Promise<{ ears: Ear[]; spoken: number[] }> {
  const clock = new HandClock();
  const out = new FanOut(clock, { delivered: () => undefined, slice: () => undefined, handedOn: () => undefined });
  const topics = [topicNamed("default.a"), topicNamed("default.b")];
  const spoken = [0, 0];
  const ears: Ear[] = [];
  const join = (index: number): void => {
    const topic = topics[index] as LocalTopic;
    const socket = new FakeSocket();
    const ear: Ear = {
      subscription: undefined as unknown as Subscription,
      topic: index,
      heard: [],
      from: spoken[index] ?? 0,
      state: "waiting",
      until: Number.POSITIVE_INFINITY,
    };
    socket.write = (bytes) => {
      // Three writes and the slice is over.
      clock.advance(0.7);
      for (let at = 0; at < bytes.length; at += 6) ear.heard.push(Number(Buffer.from(bytes.subarray(at + 2, at + 6))));
      return true;
    };
    const outbox = new Outbox(
      WEBSOCKET,
      socket,
      { limits: { unsentBytes: 1e6, controlBytes: 1e6 }, totals: { queuedBytes: 0, dropped: () => undefined } },
      { gapFrame: () => Buffer.alloc(0), tooSlow: () => undefined },
    );
    const subscription = new Subscription("s", topic, { connectionId: "c", outbox }, { echo: true, presence: false });
    Object.assign(ear, { subscription });
    ears.push(ear);
    out.inTurn(topic, () => {
      if (ear.state !== "waiting") return;
      ear.state = "in";
      topic.join(subscription);
    });
  };
  // Large enough that a walk takes several slices.
  for (let count = 0; count < 150; count++) join(count % 2);
  for (const one of steps) {
    switch (one.kind) {
      case "join":
        for (let count = 0; count < one.count; count++) join(one.topic);
        break;
      case "part": {
        const ear = ears[one.who % Math.max(1, ears.length)];
        if (ear === undefined || ear.state === "left") break;
        ear.state = "left";
        ear.until = spoken[ear.topic] ?? 0;
        topics[ear.topic]?.part(ear.subscription);
        break;
      }
      case "speak": {
        const number = spoken[one.topic] ?? 0;
        spoken[one.topic] = number + 1;
        const flight = new Flight((bytes) => Buffer.from(bytes), "all");
        flight.add(Buffer.from(String(number).padStart(4, "0")));
        out.put(topics[one.topic] as LocalTopic, flight);
        out.run();
        break;
      }
      case "turn":
        await turn();
        break;
    }
  }
  while (topics.some((topic) => topic.items.length > 0)) await turn();
  expect(out.queuedBytes).toBe(0);
  for (const topic of topics) {
    for (const [index, subscription] of topic.audience.entries()) expect(subscription.index).toBe(index);
  }
  return { ears, spoken };
}

describe("an audience that changes under a fan-out", () => {
  it("hears everything that was spoken since each came, once and in order", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 80 }), async (steps) => {
        const { ears, spoken } = await play(steps);
        for (const ear of ears) {
          const all = Array.from({ length: (spoken[ear.topic] ?? 0) - ear.from }, (_, index) => ear.from + index);
          if (ear.state === "left") {
            // What was under way when it left it may have heard or not, but nothing of later.
            expect(ear.heard).toEqual(all.slice(0, ear.heard.length));
            expect(ear.heard.every((number) => number < ear.until)).toBe(true);
          } else expect(ear.heard).toEqual(all);
        }
      }),
      { numRuns: 100 },
    );
  });
});
