import { expect, test } from "vitest";
import { Heartbeat } from "#core/fleet/heartbeat.ts";
import { HandClock } from "../harness/hand-clock.ts";

function start(): { clock: HandClock; heartbeat: Heartbeat; sent: () => number; died: () => number } {
  const clock = new HandClock();
  let sent = 0;
  let died = 0;
  const heartbeat = new Heartbeat({ clock, send: () => (sent += 1), dead: () => (died += 1) });
  return { clock, heartbeat, sent: () => sent, died: () => died };
}

test("a beat goes out each second while the peer is heard", () => {
  const { clock, heartbeat, sent, died } = start();
  for (let second = 0; second < 10; second++) {
    clock.advance(1_000);
    heartbeat.heard();
  }
  expect(sent()).toBe(10);
  expect(died()).toBe(0);
});

test("three silent seconds are death, told once; one frame just before is life", () => {
  const { clock, heartbeat, died } = start();
  clock.advance(2_999);
  heartbeat.heard();
  clock.advance(2_999);
  expect(died()).toBe(0);
  clock.advance(251);
  expect(died()).toBe(1);
  clock.advance(10_000);
  expect(died()).toBe(1);
});

test("a process that was frozen itself gives the peer another second", () => {
  const { clock, heartbeat, died } = start();
  clock.freeze(20_000);
  expect(died()).toBe(0);
  clock.advance(500);
  heartbeat.heard();
  clock.advance(2_000);
  expect(died()).toBe(0);
});

test("after that second a peer that is still silent is dead", () => {
  const { clock, died } = start();
  clock.freeze(20_000);
  clock.advance(1_250);
  expect(died()).toBe(1);
});

test("a stopped heartbeat neither beats nor judges", () => {
  const { clock, heartbeat, sent, died } = start();
  heartbeat.stop();
  heartbeat.stop();
  clock.advance(60_000);
  expect(sent()).toBe(0);
  expect(died()).toBe(0);
});
