import { expect, test } from "vitest";
import { ClockJumps } from "#core/runtime/clock-jumps.ts";
import { HandClock } from "../harness/hand-clock.ts";

class SettableClock extends HandClock {
  leadMs = 0;

  override now(): number {
    return super.now() + this.leadMs;
  }
}

function watched() {
  const clock = new SettableClock();
  const told = { times: 0 };
  const jumps = new ClockJumps(clock, () => {
    told.times += 1;
  });
  return { clock, told, jumps };
}

test("a wall clock that was set is told once, within a second, whichever way it went", async () => {
  const { clock, told, jumps } = watched();
  for (const [times, leadMs] of [3_600_000, 0, -3_600_000, 1_001 - 3_600_000].entries()) {
    clock.leadMs = leadMs;
    clock.advance(1_000);
    expect(told.times).toBe(times + 1);
    clock.advance(60_000);
    expect(told.times).toBe(times + 1);
  }
  await jumps.close();
  expect(clock.pending).toBe(0);
});

test("time that passes, also late, is no jump; a second at most is none either", () => {
  const { clock, told } = watched();
  clock.advance(3_600_000);
  clock.freeze(3_600_000);
  clock.leadMs = 1_000;
  clock.advance(10_000);
  expect(told.times).toBe(0);
});

test("a clock that is slewed is told as often as it has moved by more than a second", () => {
  const { clock, told } = watched();
  for (let second = 0; second < 10_000; second++) {
    clock.leadMs += 0.5;
    clock.advance(1_000);
  }
  expect(told.times).toBe(4);
});
