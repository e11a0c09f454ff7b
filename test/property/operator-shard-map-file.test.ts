import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SHARD_COUNT } from "#core/domain/limits.ts";
import type { Router, ShardMap } from "#core/domain/shard-map.ts";
import { createLog } from "#core/runtime/log.ts";
import { FileShardMapStore } from "../../operator/stores/file-shard-map-store.ts";
import { ShardMapConflict } from "../../operator/stores/shard-map-store.ts";

let folder: string;
let told: string[];
let store: FileShardMapStore;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "earshot-map-"));
  told = [];
  store = new FileShardMapStore({ folder, log: createLog("silent", {}), tell: (text) => told.push(text) });
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

const router: fc.Arbitrary<Router> = fc.record({
  incarnation: fc.stringMatching(/^[a-z0-9]{12}$/),
  name: fc.stringMatching(/^router-[0-9]{1,3}$/),
  address: fc.stringMatching(/^10\.0\.0\.[0-9]{1,2}:[1-9][0-9]{3}$/),
  node: fc.string({ maxLength: 10 }),
  zone: fc.string({ maxLength: 10 }),
});

const map: fc.Arbitrary<ShardMap> = fc
  .record({
    epoch: fc.integer({ min: 1, max: 2 ** 40 }),
    routers: fc.uniqueArray(router, { selector: ({ incarnation }) => incarnation, maxLength: 5 }),
    seed: fc.nat(),
  })
  .map(({ epoch, routers, seed }) => ({
    epoch,
    routers,
    shards: Array.from({ length: SHARD_COUNT }, (_, shard) => {
      const first = (shard * 7 + seed) % Math.max(1, routers.length);
      return [...routers.slice(first), ...routers.slice(0, first)].slice(0, (shard + seed) % 3);
    }),
  }));

test("a map is read as it was stored, and replaced only by who knows what is stored", async () => {
  await fc.assert(
    fc.asyncProperty(map, map, async (first, second) => {
      rmSync(join(folder, "shard-map.json"), { force: true });
      await store.replace(undefined, first);
      expect(await store.read()).toEqual(first);
      await expect(store.replace(undefined, second)).rejects.toThrow(ShardMapConflict);
      await expect(store.replace(first.epoch + 1, second)).rejects.toThrow(ShardMapConflict);
      expect(await store.read()).toEqual(first);
      await store.replace(first.epoch, second);
      expect(await store.read()).toEqual(second);
    }),
    { numRuns: 40 },
  );
  expect(readdirSync(folder)).toEqual(["shard-map.json"]);
});

test("whatever stands in the file, it is a map or it is moved aside, told, and the next map can be stored", async () => {
  const spoiled = fc.oneof(
    fc.string(),
    fc.json(),
    map.chain((whole) => {
      const broken = { epoch: whole.epoch, routers: whole.routers, primaries: [1], standbys: [] };
      const text = JSON.stringify(broken);
      return fc.nat(text.length - 1).map((length) => text.slice(0, length));
    }),
  );
  await fc.assert(
    fc.asyncProperty(spoiled, map, async (text, next) => {
      for (const name of readdirSync(folder)) rmSync(join(folder, name));
      told.length = 0;
      writeFileSync(join(folder, "shard-map.json"), text);
      expect(await store.read()).toBeUndefined();
      expect(told).toHaveLength(1);
      expect(readdirSync(folder)[0]).toMatch(/^shard-map\.json\.corrupt-\d+$/);
      await store.replace(undefined, next);
      expect(await store.read()).toEqual(next);
    }),
    { numRuns: 60 },
  );
});
