// Owns: a wall clock that a test sets, for processes that are started with `--import` of this file: Date is ahead (or
// behind) by the milliseconds that stand in the file SHIFTED_CLOCK_FILE. Timers and performance.now go on as they are, as
// when somebody sets the clock of a machine.

import { readFileSync } from "node:fs";

/** Milliseconds for which a shift that was read is used. */
const FRESH_MS = 20;

const path = process.env["SHIFTED_CLOCK_FILE"];
const RealDate = Date;
let shiftMs = 0;
let readAtMs = Number.NEGATIVE_INFINITY;

function now(): number {
  if (performance.now() - readAtMs > FRESH_MS) {
    readAtMs = performance.now();
    shiftMs = readShift();
  }
  return RealDate.now() + shiftMs;
}

function readShift(): number {
  try {
    return Number(readFileSync(path ?? "", "utf8"));
  } catch {
    return 0;
  }
}

class ShiftedDate extends RealDate {
  constructor(...parts: readonly unknown[]) {
    super(...((parts.length === 0 ? [now()] : parts) as [number]));
  }

  static override now(): number {
    return now();
  }
}

if (path !== undefined) globalThis.Date = ShiftedDate as DateConstructor;
