import pino from "pino";
import { expect, test } from "vitest";
import { KubeError } from "../../operator/kube/api.ts";
import { patiently } from "../../operator/kube/patiently.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { settled } from "../harness/settled.ts";

function begun(answers: readonly (Error | string)[]) {
  const clock = new HandClock();
  let calls = 0;
  const call = async (): Promise<string> => {
    const answer = answers[calls] ?? "late";
    calls += 1;
    if (answer instanceof Error) throw answer;
    return answer;
  };
  const result = patiently(call, { clock, log: pino({ level: "silent" }) });
  return { clock, result, calls: () => calls };
}

function refusal(status: number, retryAfterMs?: number): KubeError {
  return new KubeError("no", { status, reason: "Refused", retryAfterMs });
}

test("a call is made until the API server answers, less and less often", async () => {
  const { clock, result, calls } = begun([
    refusal(0),
    refusal(503),
    refusal(429),
    ...Array(20).fill(refusal(0)),
    "there",
  ]);
  await settled();
  expect(calls()).toBe(1);
  for (let second = 0; second < 60; second++) {
    clock.advance(1_000);
    await settled();
  }
  expect(calls()).toBeLessThan(18);
  for (let second = 0; second < 240; second++) {
    clock.advance(1_000);
    await settled();
  }
  expect(await result).toBe("there");
  expect(calls()).toBe(24);
});

test("who is asked to wait waits", async () => {
  const { clock, calls, result } = begun([refusal(429, 30_000), "there"]);
  await settled();
  clock.advance(29_000);
  await settled();
  expect(calls()).toBe(1);
  clock.advance(1_000);
  expect(await result).toBe("there");
});

test("what is refused is refused, and so is what a process that ends gave up", async () => {
  await expect(begun([refusal(403)]).result).rejects.toThrow("no");
  await expect(begun([refusal(404)]).result).rejects.toThrow("no");
  await expect(begun([new KubeError("ended", { status: 0, reason: "Closed" })]).result).rejects.toThrow("ended");
});
