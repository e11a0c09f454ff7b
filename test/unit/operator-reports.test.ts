import { expect, test } from "vitest";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import { OperatorMetrics } from "../../operator/metrics.ts";
import { Reports, SUBJECTS_TOLD_MAX } from "../../operator/stores/reports.ts";
import { HandClock } from "../harness/hand-clock.ts";

function reporting() {
  const clock = new HandClock();
  const told: string[] = [];
  const metrics = new OperatorMetrics(new Registry());
  const reports = new Reports({ clock, log: createLog("silent", {}), metrics, tell: (line) => told.push(line) });
  return { clock, told, reports };
}

test("a problem that lasts is told once, one that is mended within a moment never", () => {
  const { clock, told, reports } = reporting();
  reports.set("a.yaml", ["a.yaml line 1: wrong"]);
  reports.set("b.yaml", ["b.yaml line 1: half-written"]);
  clock.advance(200);
  reports.set("b.yaml", []);
  clock.advance(1_000);
  reports.set("a.yaml", ["a.yaml line 1: wrong"]);
  clock.advance(10_000);
  expect(told).toEqual(["a.yaml line 1: wrong"]);
});

test("where thousands have problems at once a few are told one by one, the rest as a number; later ones again", async () => {
  const { clock, told, reports } = reporting();
  for (let index = 0; index < 3_000; index++) reports.set(`t${index}.yaml`, [`t${index}.yaml: EIO`]);
  clock.advance(5_000);
  expect(told).toHaveLength(SUBJECTS_TOLD_MAX + 1);
  expect(told.at(-1)).toBe(`${3_000 - SUBJECTS_TOLD_MAX} more have problems; the operator's log names them`);
  for (let index = 0; index < SUBJECTS_TOLD_MAX; index++) reports.set(`u${index}.yaml`, [`u${index}.yaml: EIO`]);
  clock.advance(5_000);
  expect(told.slice(SUBJECTS_TOLD_MAX + 1)).toHaveLength(SUBJECTS_TOLD_MAX);
  await reports.close();
  expect(clock.pending).toBe(0);
});
