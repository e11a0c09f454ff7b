import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { InterestConfirmSchema } from "#proto/earshot/internal/v1/link_pb.ts";
import { EpochAcks } from "../../gateway/upstream/epoch-acks.ts";
import { type InterestChange, InterestLog } from "../../gateway/upstream/interest-log.ts";

const state = { upTo: 0n };

function link(sentNumber: bigint) {
  return { sentNumber, dead: false, hasConfirmed: (number: bigint): boolean => state.upTo >= number };
}

describe("epoch acks", () => {
  it("wait for every router of the map, and for nothing sent later", () => {
    const acked: number[] = [];
    const acks = new EpochAcks((epoch) => acked.push(epoch));
    acks.look();
    state.upTo = 4n;
    const first = link(5n);
    acks.await(7);
    acks.look();
    expect(acked).toEqual([]);
    acks.sent([first]);
    acks.look();
    expect(acked).toEqual([]);
    Object.assign(first, { sentNumber: 9n });
    state.upTo = 5n;
    acks.look();
    acks.look();
    expect(acked).toEqual([7]);
  });

  it("do not wait for a router that is dead", () => {
    const acked: number[] = [];
    const acks = new EpochAcks((epoch) => acked.push(epoch));
    state.upTo = 0n;
    const dying = link(5n);
    acks.await(7);
    acks.sent([dying]);
    expect(acked).toEqual([]);
    dying.dead = true;
    acks.look();
    expect(acked).toEqual([7]);
  });

  it("ack a map without routers at once, and skip one that another replaced", () => {
    const acked: number[] = [];
    const acks = new EpochAcks((epoch) => acked.push(epoch));
    state.upTo = 0n;
    acks.await(7);
    acks.sent([link(5n)]);
    acks.await(8);
    acks.sent([]);
    expect(acked).toEqual([8]);
  });
});

describe("an interest log", () => {
  const change = (topicId: string, told: string[] = []): InterestChange => ({
    topicId,
    count: 1,
    presenceCount: 0,
    confirmed: (confirm) => told.push(`${confirm.topicId} ${confirm.granted}`),
  });
  const confirmOf = (number: bigint, ...topicIds: string[]) =>
    create(InterestConfirmSchema, { number, states: topicIds.map((topicId) => ({ topicId, granted: 1 })) });

  it("numbers batches by one, 1,000 interests at most, and ends the first list in its last one", () => {
    const log = new InterestLog();
    const batches = log.batches(
      Array.from({ length: 2_001 }, (_, index) => change(`a.b:${index}`)),
      true,
    );
    expect(batches.map(({ number, changes, initialComplete }) => [number, changes.length, initialComplete])).toEqual([
      [1n, 1_000, false],
      [2n, 1_000, false],
      [3n, 1, true],
    ]);
    expect(log.batches([], true).map(({ number, initialComplete }) => [number, initialComplete])).toEqual([[4n, true]]);
  });

  it("tells who waits for a confirm, and refuses one out of order", () => {
    const log = new InterestLog();
    const told: string[] = [];
    log.batches([change("a.b", told), change("a.c", told)], true);
    log.batches([change("a.d", told)], false);
    expect(log.hasConfirmed(0n)).toBe(false);
    expect(log.confirm(confirmOf(1n, "a.b", "a.c"))).toBe(true);
    expect(told).toEqual(["a.b 1", "a.c 1"]);
    expect([log.hasConfirmed(1n), log.hasConfirmed(2n)]).toEqual([true, false]);
    expect(log.confirm(confirmOf(3n, "a.d"))).toBe(false);
  });

  it("forgets with the stream what was sent, but not its numbers", () => {
    const log = new InterestLog();
    log.batches([change("a.b")], true);
    log.confirm(confirmOf(1n, "a.b"));
    log.forget();
    expect(log.hasConfirmed(1n)).toBe(false);
    expect(log.batches([change("a.b")], true)[0]?.number).toBe(2n);
  });
});
