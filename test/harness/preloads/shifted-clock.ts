// Owns: a wall clock that a test sets, for processes that are started with `--import` of this file: Date is ahead (or
// behind) by the milliseconds that stand in the file SHIFTED_CLOCK_FILE. Timers and performance.now go on as they are, as
// when somebody sets the clock of a machine.

import { readFileSync } from "node:fs";

const path = process.env["SHIFTED_CLOCK_FILE"];
const RealDate = Date;

/** Read each time: a test goes on as soon as it has set the clock. */
function now(): number {
  return RealDate.now() + readShift();
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
