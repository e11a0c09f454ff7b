import { describe, expect, it } from "vitest";
import { ReceiptCount } from "../../gateway/fanout/receipts.ts";
import { BatchConfirms } from "../../gateway/upstream/batch-confirms.ts";
import { HandedOn } from "../../gateway/upstream/handed-on.ts";
import { judgeLateInterest } from "../../gateway/upstream/late-interest.ts";

describe("batch confirms", () => {
  it("say the highest batch before which everything was handed on", () => {
    const confirms = new BatchConfirms();
    for (const number of [1n, 2n, 3n]) confirms.began(number);
    confirms.done(2n);
    expect(confirms.take()).toBeUndefined();
    confirms.done(1n);
    expect(confirms.take()).toBe(2n);
    expect(confirms.take()).toBeUndefined();
    confirms.done(3n);
    expect(confirms.take()).toBe(3n);
  });

  it("begin with whatever number comes first", () => {
    const confirms = new BatchConfirms();
    expect(confirms.take()).toBeUndefined();
    confirms.began(40n);
    confirms.done(40n);
    expect(confirms.take()).toBe(40n);
  });
});

describe("a router's first confirmation after subscribed", () => {
  const subscribedAtMs = 1_000;

  it("is in time where nothing was ever spoken, or nothing since", () => {
    expect(judgeLateInterest({ seq: 0, spokenAtMs: undefined, heardBefore: undefined }, subscribedAtMs).late).toBe(
      false,
    );
    expect(judgeLateInterest({ seq: 9, spokenAtMs: 1_000, heardBefore: undefined }, subscribedAtMs).late).toBe(false);
  });

  it("is late where something was spoken since, by an unknown number", () => {
    const verdict = judgeLateInterest({ seq: 9, spokenAtMs: 1_001, heardBefore: undefined }, subscribedAtMs);
    expect(verdict).toEqual({ late: true, missed: undefined });
  });

  it("is in time where this gateway heard the last message itself", () => {
    const verdict = judgeLateInterest(
      { seq: 9, spokenAtMs: 1_500, heardBefore: { seq: 9, atMs: 1_501 } },
      subscribedAtMs,
    );
    expect(verdict.late).toBe(false);
  });

  it("knows the number where this gateway heard the one before them", () => {
    const verdict = judgeLateInterest(
      { seq: 12, spokenAtMs: 2_000, heardBefore: { seq: 9, atMs: 1_500 } },
      subscribedAtMs,
    );
    expect(verdict).toEqual({ late: true, missed: 3 });
  });

  it("does not know the number for one who subscribed after what was heard last", () => {
    const verdict = judgeLateInterest(
      { seq: 12, spokenAtMs: 2_000, heardBefore: { seq: 9, atMs: 900 } },
      subscribedAtMs,
    );
    expect(verdict).toEqual({ late: true, missed: undefined });
  });
});

describe("what was handed on", () => {
  it("is told once a turn, as far as all before it was handed on too", async () => {
    const told: bigint[] = [];
    const handedOn = new HandedOn("r0", { confirm: (number) => told.push(number), receipts: () => undefined });
    for (const number of [1n, 2n, 3n]) handedOn.began(number);
    for (const number of [3n, 1n]) handedOn.batchDone(number);
    await turn();
    handedOn.batchDone(2n);
    await turn();
    expect(told).toEqual([1n, 3n]);
  });

  it("of a stream that has ended is told to nobody, so that the next one's batches are not taken for its own", async () => {
    const told: bigint[] = [];
    const receipts: number[] = [];
    const streams = [0, 1].map(
      () =>
        new HandedOn("r0", {
          confirm: (number) => told.push(number),
          receipts: (counts) => receipts.push(counts.length),
        }),
    );
    const [ended, next] = streams;
    for (const number of [1n, 2n]) ended?.began(number);
    for (const number of [1n, 2n, 3n]) next?.began(number);
    ended?.batchDone(1n);
    ended?.receipt(new ReceiptCount(7n));
    ended?.end();
    ended?.batchDone(2n);
    next?.batchDone(1n);
    next?.receipt(new ReceiptCount(8n));
    await turn();
    expect([told, receipts]).toEqual([[1n], [1]]);
  });
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
