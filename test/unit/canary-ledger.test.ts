import * as fc from "fast-check";
import { expect, test } from "vitest";
import { LATE_MS, Ledger } from "../../canary/ledger.ts";

function ledgerOf(): { ledger: Ledger; heardAfterMs: number[] } {
  const heardAfterMs: number[] = [];
  return { ledger: new Ledger((ms) => heardAfterMs.push(ms)), heardAfterMs };
}

test("what is heard is timed, once, whether or not its answer came", () => {
  const { ledger, heardAfterMs } = ledgerOf();
  const first = ledger.speak(0);
  const second = ledger.speak(10);
  ledger.accepted(first);
  ledger.heard(first, 3);
  ledger.heard(first, 4);
  ledger.heard(second, 15);
  ledger.heard(99, 16);
  expect(heardAfterMs).toEqual([3, 5]);
  expect(ledger.counts).toEqual({ sent: 2, heard: 2, missed: 0, refused: 0 });
});

test("what was taken and not heard is missed after 5 s and not before; what comes then is nothing", () => {
  const { ledger, heardAfterMs } = ledgerOf();
  const number = ledger.speak(100);
  ledger.accepted(number);
  ledger.sweep(100 + LATE_MS - 1);
  expect(ledger.counts.missed).toBe(0);
  ledger.sweep(100 + LATE_MS);
  ledger.heard(number, 100 + LATE_MS);
  expect({ ...ledger.counts, heardAfterMs }).toEqual({ sent: 1, heard: 0, missed: 1, refused: 0, heardAfterMs: [] });
});

test("what nobody took is refused, unless it was heard all the same", () => {
  const { ledger } = ledgerOf();
  ledger.speak(0);
  ledger.heard(ledger.speak(0), 1);
  ledger.sweep(LATE_MS);
  expect(ledger.counts).toEqual({ sent: 2, heard: 1, missed: 0, refused: 1 });
});

test("whatever happens in whatever order, each message is counted once, and none is kept for longer than 5 s", () => {
  const step = fc.record({
    kind: fc.constantFrom("speak", "accepted", "heard", "sweep"),
    number: fc.integer({ min: 1, max: 30 }),
    afterMs: fc.integer({ min: 0, max: 2_000 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const { ledger } = ledgerOf();
      let nowMs = 0;
      for (const { kind, number, afterMs } of steps) {
        nowMs += afterMs;
        if (kind === "speak") ledger.speak(nowMs);
        else if (kind === "accepted") ledger.accepted(number);
        else if (kind === "heard") ledger.heard(number, nowMs);
        else ledger.sweep(nowMs);
        const { sent, heard, missed, refused } = ledger.counts;
        expect(heard + missed + refused + ledger.open).toBe(sent);
      }
      ledger.sweep(nowMs + LATE_MS);
      expect(ledger.open).toBe(0);
    }),
  );
});
