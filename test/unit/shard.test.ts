import { expect, test } from "vitest";
import { SHARD_COUNT } from "#core/domain/limits.ts";
import { hashTopicId, shardOf } from "#core/domain/shard.ts";
import { EMPTY_SHARD_MAP, isNewer, ownersOf } from "#core/domain/shard-map.ts";

test("the shard hash is pinned for ever: other implementations may rely on these values", () => {
  const pinned: [string, number, number][] = [
    ["default.demo", 2113371361, 225],
    ["shop.chat", 3874547067, 379],
    ["shop.chat:room-42", 176506626, 770],
    ["shop.orders", 1725262004, 180],
    ["a.b", 2172975762, 658],
  ];
  for (const [id, hash, shard] of pinned) expect([id, hashTopicId(id), shardOf(id)]).toEqual([id, hash, shard]);
});

test("channels that differ in their last characters alone spread over all shards", () => {
  const counts = Array.from({ length: SHARD_COUNT }, () => 0);
  const perShard = 100;
  for (let room = 0; room < SHARD_COUNT * perShard; room++) {
    const shard = shardOf(`shop.chat:room-${room}`);
    counts[shard] = (counts[shard] ?? 0) + 1;
  }
  // Poisson with mean 100 has a standard deviation of 10; five of them is where chance ends.
  expect(Math.min(...counts)).toBeGreaterThan(50);
  expect(Math.max(...counts)).toBeLessThan(150);
});

test("a map replaces another only with a higher epoch", () => {
  const at = (epoch: number): typeof EMPTY_SHARD_MAP => ({ ...EMPTY_SHARD_MAP, epoch });
  expect(isNewer(at(2), at(1))).toBe(true);
  expect(isNewer(at(1), at(1))).toBe(false);
  expect(isNewer(at(1), at(2))).toBe(false);
});

test("the empty map names nobody for any topic", () => {
  expect(ownersOf(EMPTY_SHARD_MAP, "shop.chat")).toEqual([]);
});
