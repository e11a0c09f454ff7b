import { expect, test } from "vitest";
import { isFlat, type Sample, slopeOf } from "../../bench/slope.ts";

/** Ten minutes of a sample each five seconds. */
function series(value: (minute: number) => number): readonly Sample[] {
  return Array.from({ length: 120 }, (_, index) => ({ minute: index / 12, value: value(index / 12) }));
}

test("a straight line has its slope, and no doubt", () => {
  const slope = slopeOf(series((minute) => 1_000 + 7 * minute));
  expect(slope.perMinute).toBeCloseTo(7, 6);
  expect(slope.uncertainty).toBeCloseTo(0, 6);
  expect(isFlat(slope)).toBe(false);
});

test("what goes up and down and comes back is flat; with a slope beneath it is not", () => {
  const waves = (minute: number): number => 1_000 + 50 * Math.sin(minute * 5);
  expect(isFlat(slopeOf(series(waves)))).toBe(true);
  const rising = slopeOf(series((minute) => waves(minute) + 30 * minute));
  expect(isFlat(rising)).toBe(false);
  expect(Math.abs(rising.perMinute - 30)).toBeLessThan(rising.uncertainty + 1);
});

test("the interval holds the truth in about 95 of 100 noisy series whose neighbours are alike", () => {
  let seed = 7;
  const random = (): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return seed / 2_147_483_648 - 0.5;
  };
  let held = 0;
  for (let run = 0; run < 200; run++) {
    let drift = 0;
    const noisy = series((minute) => {
      drift = 0.6 * drift + 100 * random();
      return 5 * minute + drift;
    });
    const { perMinute, uncertainty } = slopeOf(noisy);
    if (Math.abs(perMinute - 5) <= uncertainty) held += 1;
  }
  expect(held).toBeGreaterThan(175);
});
