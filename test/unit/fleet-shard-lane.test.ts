import { expect, test } from "vitest";
import { Flight } from "#core/fleet/flight.ts";
import { ShardLane } from "#core/fleet/shard-lane.ts";

function flight(number: number): Flight {
  const order = { kind: "presence", topicId: "a.b", update: { count: 0, version: 1, joined: [], left: [] } } as const;
  return new Flight(order, number, 0, { resolve: () => {}, reject: () => {}, settled: () => {} });
}

test("nothing waits while the target stays", () => {
  const lane = new ShardLane();
  expect(lane.mustWait("a")).toBe(false);
  lane.sent("a");
  expect(lane.mustWait("a")).toBe(false);
});

test("a new target waits until the last answer of the old one came", () => {
  const lane = new ShardLane();
  const [first, second] = [lane.sent("a"), lane.sent("a")];
  expect(lane.mustWait("b")).toBe(true);
  lane.answered(first);
  expect(lane.mustWait("b")).toBe(true);
  lane.answered(second);
  expect(lane.mustWait("b")).toBe(false);
});

test("after a publish came back to another router, new ones wait for the rest of the old router's answers", () => {
  const lane = new ShardLane();
  const [first, second] = [lane.sent("a"), lane.sent("a")];
  lane.sent("b");
  lane.answered(first);
  expect(lane.mustWait("b")).toBe(true);
  lane.answered(second);
  expect(lane.mustWait("b")).toBe(false);
});

test("a wait that was given up counts old answers no more, whenever they come", () => {
  const lane = new ShardLane();
  const old = lane.sent("a");
  lane.giveUpWaiting("b");
  expect(lane.mustWait("b")).toBe(false);
  const fresh = lane.sent("b");
  lane.answered(old);
  expect(lane.mustWait("c")).toBe(true);
  lane.answered(fresh);
  expect(lane.mustWait("c")).toBe(false);
});

test("who comes back takes its place by age", () => {
  const lane = new ShardLane();
  for (const number of [4, 7, 2, 3, 9]) lane.enqueue(flight(number));
  expect(lane.waiting.map((one) => one.number)).toEqual([2, 3, 4, 7, 9]);
});

test("a router is avoided until its time is over, and another never", () => {
  const lane = new ShardLane();
  lane.avoid("a", 100);
  expect([lane.avoids("a", 99), lane.avoids("a", 100), lane.avoids("b", 0)]).toEqual([true, false, false]);
});
