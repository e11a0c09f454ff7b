// Owns: which shard a topic id belongs to. Every process of every version must agree, so this never changes:
// 32-bit FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/) of the topic id's UTF-8 bytes, then the finalizer of
// MurmurHash3 (fmix32), so that ids which differ in their last character alone spread too; modulo SHARD_COUNT.
// test/unit/shard.test.ts pins values for writers of other implementations.

import { SHARD_COUNT } from "./limits.ts";

/** 32-bit hash of a topic id (ASCII by its grammar, so one UTF-16 unit is one byte). */
export function hashTopicId(id: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < id.length; index++) {
    hash = Math.imul(hash ^ id.charCodeAt(index), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The shard of a topic id: 0 to SHARD_COUNT - 1. */
export function shardOf(id: string): number {
  return hashTopicId(id) % SHARD_COUNT;
}
