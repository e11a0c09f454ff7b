import { expect, test } from "vitest";
import { ShardLane } from "#core/fleet/shard-lane.ts";

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

test("a router is avoided until its time is over, and another never", () => {
  const lane = new ShardLane();
  lane.avoid("a", 100);
  expect([lane.standingOf("a", 99), lane.standingOf("a", 100), lane.standingOf("b", 0)]).toEqual([
    "avoided",
    "usual",
    "usual",
  ]);
});

test("a router that came into the list is new for its time, also where it refused", () => {
  const lane = new ShardLane();
  lane.avoid("a", 100);
  lane.listed(["a"], 50);
  expect([lane.standingOf("a", 49), lane.standingOf("a", 50), lane.standingOf("b", 49)]).toEqual([
    "new",
    "avoided",
    "usual",
  ]);
});
