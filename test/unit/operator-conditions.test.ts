import { expect, test } from "vitest";
import { decideStatus, type TopicFacts, type TopicStatus } from "../../operator/reconcile/conditions.ts";

const FACTS: TopicFacts = {
  topicId: "shop.orders",
  generation: 3,
  rejected: undefined,
  clamped: undefined,
  programmed: { kind: "done" },
  hot: false,
  remark: undefined,
};

const AT = Date.parse("2026-01-01T00:00:00.500Z");

function decide(change: Partial<TopicFacts>, previous?: TopicStatus, nowMs = AT): TopicStatus {
  return decideStatus({ ...FACTS, ...change }, previous, nowMs);
}

function brief(status: TopicStatus): Record<string, string> {
  return Object.fromEntries(status.conditions.map(({ type, status: is, reason }) => [type, `${is} ${reason}`]));
}

test("a Topic that every process has is accepted, programmed and ready", () => {
  const status = decide({});
  expect(status).toMatchObject({ observedGeneration: 3, topicId: "shop.orders" });
  expect(brief(status)).toEqual({ Accepted: "True Accepted", Programmed: "True Programmed", Ready: "True Ready" });
  expect(status.conditions.map(({ lastTransitionTime }) => lastTransitionTime)).toEqual(
    Array.from({ length: 3 }, () => "2026-01-01T00:00:00Z"),
  );
  for (const condition of status.conditions) expect(condition.observedGeneration).toBe(3);
});

test("a Topic that is on its way is not ready yet, and whoever waits is told so", () => {
  expect(brief(decide({ programmed: { kind: "waiting" } }))).toEqual({
    Accepted: "True Accepted",
    Programmed: "Unknown Pending",
    Ready: "Unknown Pending",
  });
});

test("a process that did not confirm in time is named by number, and holds nobody up", () => {
  const status = decide({ programmed: { kind: "gaveUp", missing: 1, connected: 4 } });
  expect(brief(status)).toMatchObject({ Programmed: "True PartlyConfirmed", Ready: "True Ready" });
  expect(status.conditions[1]?.message).toContain("1 of 4");
});

test("what an operator before decided for this generation stands, word for word: nothing is written anew", () => {
  const before = decide({ programmed: { kind: "gaveUp", missing: 1, connected: 4 } });
  const { reason = "", message = "" } = before.conditions[1] ?? {};
  expect(decide({ programmed: { kind: "stands", reason, message } }, before, AT + 60_000)).toBe(before);
});

test("a limit that the installation lowered is told, and the Topic is ready", () => {
  expect(brief(decide({ clamped: "lowered" }))).toMatchObject({ Accepted: "True Clamped", Ready: "True Clamped" });
});

test("a wrong newer manifest is not accepted and stalled until it is mended", () => {
  const wrong = decide({ rejected: "orders.yaml line 3: kind must be Topic" }, decide({}));
  expect(brief(wrong)).toMatchObject({ Accepted: "False Invalid", Ready: "False Invalid", Stalled: "True Invalid" });
  expect(wrong.conditions[0]?.message).toContain("orders.yaml line 3");
  const mended = decide({}, wrong);
  expect(brief(mended)).toMatchObject({ Accepted: "True Accepted", Ready: "True Ready", Stalled: "False Accepted" });
});

test("Hot is told when it holds, and from then on also when it does not", () => {
  const hot = decide({ hot: true }, decide({}));
  expect(brief(hot)["Hot"]).toBe("True ManySubscriptions");
  expect(brief(decide({}, hot))["Hot"]).toBe("False FewSubscriptions");
});

test("what did not change is the very same status, and a condition keeps the time of its last change", () => {
  const first = decide({});
  expect(decide({}, first, AT + 60_000)).toBe(first);
  const next = decide({ generation: 4, programmed: { kind: "waiting" } }, first, AT + 60_000);
  const times = Object.fromEntries(next.conditions.map(({ type, lastTransitionTime }) => [type, lastTransitionTime]));
  expect(times).toEqual({
    Accepted: "2026-01-01T00:00:00Z",
    Programmed: "2026-01-01T00:01:00Z",
    Ready: "2026-01-01T00:01:00Z",
  });
});
