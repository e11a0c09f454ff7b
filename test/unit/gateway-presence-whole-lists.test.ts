import { beforeEach, expect, test } from "vitest";
import type { Presence } from "#core/domain/topic.ts";
import { parseTopicId } from "#core/domain/topic-id.ts";
import { FanOut } from "../../gateway/fanout/fan-out.ts";
import type { LocalTopic } from "../../gateway/fanout/local-topic.ts";
import { LocalTopics } from "../../gateway/fanout/local-topics.ts";
import type { PresenceSnapshot, PresenceTracker } from "../../gateway/presence/presence.ts";
import { WholeLists } from "../../gateway/presence/whole-lists.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { topicOf } from "../harness/http-door.ts";

let topics: LocalTopics;
let wholeLists: WholeLists;
let asked: {
  readonly topicId: string;
  readonly promise: Promise<PresenceSnapshot>;
  readonly resolve: (snapshot: PresenceSnapshot) => void;
  there: boolean;
}[];
let told: string[];
let owedToAll: () => void;
let alive: string[];

beforeEach(() => {
  topics = new LocalTopics();
  asked = [];
  told = [];
  alive = ["r1", "r2"];
  const presence: Pick<PresenceTracker, "onListsOwed" | "whole"> = {
    onListsOwed: (listener) => {
      owedToAll = listener;
    },
    whole: (topicId) => {
      // One list for all who wait for it before it is there.
      const waiting = asked.find((one) => one.topicId === topicId && !one.there);
      if (waiting !== undefined) return waiting.promise;
      const { promise, resolve } = Promise.withResolvers<PresenceSnapshot>();
      asked.push({ topicId, promise, resolve, there: false });
      return promise;
    },
  };
  const fanOut = new FanOut(new HandClock(), { delivered: () => {}, slice: () => {}, handedOn: () => {} });
  const put = fanOut.put.bind(fanOut);
  fanOut.put = (topic, flight) => {
    told.push(`${flight.audience} ${Buffer.from(flight.envelopes[0] ?? []).toString()}`);
    put(topic, flight);
  };
  wholeLists = new WholeLists({
    presence: presence as PresenceTracker,
    topics,
    fanOut,
    encodeGrpc: (envelope) => Buffer.from(envelope),
    upstream: {
      firstAlive: () => undefined,
      // Every topic but shop.far is registered at r1.
      registrationAt: (topic, incarnation) =>
        incarnation === "r1" && topic.id !== "shop.far" ? ({ total: 3 } as never) : undefined,
      linkReports: () =>
        ["r1", "r2"].map((incarnation) => ({ routerIncarnation: incarnation, alive: alive.includes(incarnation) })),
    },
  });
  wholeLists.linksChanged();
});

function watch(id: string, presence: Presence = "Members"): LocalTopic {
  const parsed = parseTopicId(id);
  if (!parsed.ok) throw new Error(parsed.reason);
  const topic = topics.obtain(parsed.value, topicOf(id, { presence }));
  topic.interested = 3;
  topic.presenceInterested = 1;
  return topic;
}

const WHOLE: PresenceSnapshot = { page: { members: [], count: 0, version: 1, nextCursor: undefined }, stale: false };

function answer(): void {
  for (const one of asked) {
    one.there = true;
    one.resolve(WHOLE);
  }
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

test("after the store came back empty, each watched topic gets one list for all who watch it", async () => {
  watch("shop.chat");
  watch("shop.counted", "Count");
  watch("shop.unwatched").presenceInterested = 0;
  owedToAll();
  owedToAll();
  expect(asked.map(({ topicId }) => topicId)).toEqual(["shop.chat"]);
  answer();
  await turn();
  expect(told).toEqual([
    'presence {"type":"presence","topic_id":"shop.chat","count":0,"connections":3,"subscribers":[]}',
  ]);
  owedToAll();
  expect(asked).toHaveLength(2);
});

test("who no longer watches when the list comes is told nothing", async () => {
  const topic = watch("shop.chat");
  const other = watch("shop.other");
  owedToAll();
  topics.forget(topic);
  other.presenceInterested = 0;
  answer();
  await turn();
  expect(told).toEqual([]);
});

test("a router that is gone owes lists to the topics that it carried, one that lives does not", () => {
  watch("shop.near");
  watch("shop.far");
  wholeLists.linksChanged();
  alive = ["r1"];
  wholeLists.linksChanged();
  expect(asked).toEqual([]);
  alive = [];
  wholeLists.linksChanged();
  expect(asked.map(({ topicId }) => topicId)).toEqual(["shop.near"]);
  alive = ["r1", "r2"];
  wholeLists.linksChanged();
  expect(asked).toHaveLength(1);
});
