import { expect, test } from "vitest";
import { Lifecycle } from "#core/runtime/lifecycle.ts";
import { createLog } from "#core/runtime/log.ts";

const log = createLog("silent", {});

test("components drain, then close, in the reverse order of their start", async () => {
  const steps: string[] = [];
  const lifecycle = new Lifecycle(log);
  for (const name of ["first", "second"]) {
    lifecycle.own(name, {
      drain: async () => void steps.push(`drain ${name}`),
      close: async () => void steps.push(`close ${name}`),
    });
  }
  await lifecycle.stop(1_000);
  expect(steps).toEqual(["drain second", "drain first", "close second", "close first"]);
});

test("stopping twice stops once", async () => {
  let closed = 0;
  const lifecycle = new Lifecycle(log);
  lifecycle.own("only", { close: async () => void (closed += 1) });
  await Promise.all([lifecycle.stop(100), lifecycle.stop(100)]);
  expect(closed).toBe(1);
});

test("a component that never drains or that fails keeps no other from closing", async () => {
  const closed: string[] = [];
  const lifecycle = new Lifecycle(log);
  lifecycle.own("fine", { close: async () => void closed.push("fine") });
  lifecycle.own("stuck", { drain: () => new Promise(() => {}), close: async () => void closed.push("stuck") });
  lifecycle.own("broken", { close: () => Promise.reject(new Error("broken")) });
  await lifecycle.stop(20);
  expect(closed).toEqual(["stuck", "fine"]);
});
