import { expect, test } from "vitest";
import { TokenBucket, TokenBuckets } from "#core/runtime/token-bucket.ts";

test("a bucket gives its burst at once and not one more", () => {
  const bucket = new TokenBucket(10, 3, 0);
  expect([bucket.take(0), bucket.take(0), bucket.take(0), bucket.take(0)]).toEqual([true, true, true, false]);
});

test("tokens come back with time, never above the burst", () => {
  const bucket = new TokenBucket(10, 3, 0);
  bucket.take(0, 3);
  expect(bucket.take(99)).toBe(false);
  expect(bucket.take(100)).toBe(true);
  expect(bucket.take(1_000_000, 4)).toBe(false);
  expect(bucket.take(1_000_000, 3)).toBe(true);
});

test("keys have a bucket each", () => {
  const buckets = new TokenBuckets(1, 1, 10);
  expect(buckets.take("a", 0)).toBe(true);
  expect(buckets.take("b", 0)).toBe(true);
  expect(buckets.take("a", 0)).toBe(false);
});

test("at its cap the table forgets the key used longest ago, and no other", () => {
  const buckets = new TokenBuckets(0.001, 1, 2);
  buckets.take("a", 0);
  buckets.take("b", 0);
  buckets.take("a", 0);
  expect(buckets.size).toBe(2);
  buckets.take("c", 0);
  expect(buckets.size).toBe(2);
  expect(buckets.take("a", 0)).toBe(false);
  expect(buckets.take("b", 0)).toBe(true);
});

test("a bucket that is full again is forgotten when others call, and its key has lost nothing", () => {
  const buckets = new TokenBuckets(10, 20, 1_000);
  for (let key = 0; key < 500; key++) expect(buckets.take(`early ${key}`, 0, 20)).toBe(true);
  for (let key = 0; key < 499; key++) buckets.take("busy", 1_999);
  expect(buckets.size).toBe(501);
  expect(buckets.take("early 0", 1_999, 20)).toBe(false);
  for (let key = 0; key < 500; key++) buckets.take("busy", 4_000);
  expect(buckets.size).toBe(1);
  expect(buckets.take("early 0", 4_000, 20)).toBe(true);
});
