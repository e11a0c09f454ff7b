// The operator's informer against a real API server, through a proxy that has faults. After each: what it holds equals what
// the server has, every object's last state was told, nothing hung, and nothing was asked for again and again.

import { afterEach, beforeEach, expect, test } from "vitest";
import type { Informer } from "../../operator/kube/informer.ts";
import type { SeenRequest } from "../harness/fault-proxy.ts";
import { apiServer, makeNamespace } from "../harness/kube-cluster.ts";
import { type ConfigMap, KubeRig } from "../harness/kube-rig.ts";
import { until } from "../harness/until.ts";

/** Milliseconds without a byte after which a stream is given up, where that is tried. */
const SILENCE_MS = 1_500;

const access = apiServer();
let rig: KubeRig;

beforeEach(async () => {
  rig = await KubeRig.make(access, await makeNamespace(access, "informer"));
  await rig.write("a", "1");
  await rig.write("b", "1");
});

afterEach(() => rig.close());

/** Something changes of every kind: an object is made, one gets another value, one goes. */
async function changeAll(round: string): Promise<void> {
  await rig.write(`made-${round}`, round);
  await rig.write("a", round);
  await rig.write("b", round);
  await rig.remove("b");
}

function isList({ isWatch, query }: SeenRequest): boolean {
  return !isWatch || query["sendInitialEvents"] === "true";
}

function seen(predicate: (request: SeenRequest) => boolean): number {
  return rig.proxy.requests.filter(predicate).length;
}

/** Keys told, each with the value that the informer had then; undefined: gone. */
function told(informer: Informer<ConfigMap>): Map<string, string | undefined> {
  const last = new Map<string, string | undefined>();
  informer.onChange((key) => last.set(key.split("/")[1] ?? "", informer.objects.get(key)?.data?.["value"]));
  return last;
}

/** It converges after a change, and has told the last state of everything that changed. */
async function expectWhole(informer: Informer<ConfigMap>, last: Map<string, string | undefined>, round = "after") {
  await changeAll(round);
  await rig.converged(informer);
  for (const [name, value] of Object.entries(await rig.stored())) {
    if (last.has(name)) expect([name, last.get(name)]).toEqual([name, value]);
  }
  expect(last.get(`made-${round}`)).toBe(round);
  expect(last.get("a")).toBe(round);
  expect(last.has("b")).toBe(true);
  expect(last.get("b")).toBeUndefined();
}

async function started(options: Parameters<KubeRig["informer"]>[0] = {}): Promise<Informer<ConfigMap>> {
  const informer = rig.informer(options);
  await informer.start();
  return informer;
}

test("the first list is whole when start resolves, by one watch and no other call", async () => {
  const informer = await started();
  expect([...informer.objects.keys()].length).toBe(2);
  expect(informer.synced).toBe(true);
  expect(informer.revision).toBeGreaterThan(0n);
  expect(rig.proxy.requests).toHaveLength(1);
  await expectWhole(informer, told(informer));
  expect(rig.proxy.requests).toHaveLength(1);
});

test("an API server without WatchList is asked page by page, and a list is never asked for the other way again", async () => {
  rig.proxy.refuse(({ query }) => (query["sendInitialEvents"] === undefined ? undefined : { status: 422 }));
  for (let index = 0; index < 520; index++) await rig.write(`many-${index}`, "1");
  const informer = await started();
  await rig.converged(informer);
  // One refused watch, two pages.
  expect(seen(isList)).toBe(3);
  await expectWhole(informer, told(informer));
  rig.proxy.endWatches(errorLine(410));
  await until(() => seen(isList) === 5, "the list is taken anew");
  await expectWhole(informer, told(informer), "again");
  expect(seen(({ query }) => query["sendInitialEvents"] !== undefined)).toBe(1);
});

test("a frozen connection is given up, and the watch goes on where it was", async () => {
  const informer = await started({ silenceMs: SILENCE_MS });
  const last = told(informer);
  rig.proxy.freeze();
  await changeAll("frozen");
  const before = rig.proxy.requests.length;
  await until(() => rig.proxy.requests.length > before, "it asks again", 60_000);
  rig.proxy.thaw();
  await expectWhole(informer, last);
  expect(seen(isList)).toBe(1);
});

test("a server that stays frozen is asked no more often than its silence lasts", async () => {
  await started({ silenceMs: SILENCE_MS });
  rig.proxy.freeze();
  const before = rig.proxy.requests.length;
  const frozenAtMs = performance.now();
  await until(() => rig.proxy.requests.length >= before + 3, "it asks thrice", 120_000);
  expect(performance.now() - frozenAtMs).toBeGreaterThan(2 * SILENCE_MS);
});

test("connections that are reset are made anew", async () => {
  const informer = await started();
  const last = told(informer);
  for (let round = 0; round < 3; round++) {
    await until(() => rig.proxy.openWatches === 1, "it watches");
    rig.proxy.reset();
    await rig.write("a", `reset ${round}`);
  }
  await expectWhole(informer, last);
  expect(seen(isList)).toBe(1);
});

test("half a line is never applied", async () => {
  const informer = await started();
  const last = told(informer);
  rig.proxy.cutLines();
  await rig.write("cut", "whole");
  await rig.converged(informer);
  expect(last.get("cut")).toBe("whole");
  await expectWhole(informer, last);
  expect(seen(isList)).toBe(1);
});

test("a line that is no JSON, and one that is no event, end the watch and nothing else", async () => {
  const informer = await started();
  const last = told(informer);
  for (const line of ["so it goes\n", '{"type":"ADDED"}\n', '{"type":"NEW","object":{"metadata":{}}}\n', "null\n"]) {
    await until(() => rig.proxy.openWatches === 1, "it watches");
    rig.proxy.endWatches(line);
    await until(() => rig.proxy.openWatches === 0, "the watch has ended");
  }
  await expectWhole(informer, last);
  expect(seen(isList)).toBe(1);
});

test("a refused token is loaded anew, and the watch goes on", async () => {
  const informer = await started();
  const last = told(informer);
  rig.proxy.accept("second token");
  rig.proxy.reset();
  await until(() => rig.proxy.requests.length > 2, "it asks with the token that it has", 60_000);
  rig.proxy.giveToken("second token");
  await expectWhole(informer, last);
});

test("a revision that is too old leads to a new list, with what went meanwhile", async () => {
  const informer = await started();
  const last = told(informer);
  rig.proxy.refuse(({ query }) =>
    query["resourceVersion"] === undefined ? undefined : { status: 410, reason: "Expired" },
  );
  rig.proxy.freeze();
  await changeAll("unseen");
  rig.proxy.reset();
  rig.proxy.thaw();
  await until(() => seen(isList) === 2, "a new list is asked for", 60_000);
  await rig.converged(informer);
  expect(last.get("b")).toBeUndefined();
  expect(last.has("b")).toBe(true);
  await expectWhole(informer, last);
});

test("an error event that says so does the same, and the objects are never gone in between", async () => {
  const informer = await started();
  const last = told(informer);
  let fewest = informer.objects.size;
  informer.onChange(() => (fewest = Math.min(fewest, informer.objects.size)));
  rig.proxy.endWatches(errorLine(410));
  await until(() => seen(isList) === 2, "a new list is asked for", 60_000);
  await rig.converged(informer);
  expect(fewest).toBe(2);
  expect(last.size).toBe(0);
  await expectWhole(informer, last);
});

test("who is told to wait waits that long, and asks once", async () => {
  const informer = await started();
  const last = told(informer);
  const refusedAtMs: number[] = [];
  const askedAtMs: number[] = [];
  rig.proxy.refuse(({ atMs }) => {
    askedAtMs.push(atMs);
    if (refusedAtMs.length > 0) return undefined;
    refusedAtMs.push(atMs);
    return { status: 429, reason: "TooManyRequests", retryAfterSeconds: 2 };
  });
  rig.proxy.reset();
  await until(() => askedAtMs.length >= 2, "it asks again", 60_000);
  expect((askedAtMs[1] ?? 0) - (refusedAtMs[0] ?? 0)).toBeGreaterThanOrEqual(1_900);
  await expectWhole(informer, last);
  expect(seen(isList)).toBe(1);
});

test("a storm of server errors is met by fewer and fewer tries, and survived", async () => {
  const informer = await started({ backoff: { firstMs: 200, maxMs: 10_000 } });
  const last = told(informer);
  rig.proxy.refuse(({ atMs }) => ({ status: atMs % 2 < 1 ? 500 : 503, reason: "InternalError" }));
  rig.proxy.reset();
  const before = rig.proxy.requests.length;
  const stormAtMs = performance.now();
  await changeAll("storm");
  await until(() => rig.proxy.requests.length >= before + 5, "it has tried five times", 120_000);
  // At least half of 200, 400, 800 and 1,600 ms lie between five tries.
  expect(performance.now() - stormAtMs).toBeGreaterThan(1_400);
  rig.proxy.refuse(() => undefined);
  await expectWhole(informer, last);
  expect(seen(isList)).toBe(1);
});

test("a server that ends every watch at once is asked less and less often", async () => {
  const informer = await started({ backoff: { firstMs: 200, maxMs: 10_000 } });
  const before = rig.proxy.requests.length;
  const startedMs = performance.now();
  const timer = setInterval(() => rig.proxy.endWatches(), 5);
  await until(() => rig.proxy.requests.length >= before + 5, "it has asked five times", 120_000);
  clearInterval(timer);
  expect(performance.now() - startedMs).toBeGreaterThan(1_400);
  await expectWhole(informer, told(informer));
});

test("without the bookmark that ends a list, the list is taken page by page", async () => {
  rig.proxy.bookmarks = "none";
  const informer = await started({ silenceMs: SILENCE_MS });
  await rig.converged(informer);
  await expectWhole(informer, told(informer));
});

test("without any bookmark a quiet watch is begun anew, and nothing is lost", async () => {
  rig.proxy.bookmarks = "list-end";
  const informer = await started({ silenceMs: SILENCE_MS });
  const before = rig.proxy.requests.length;
  await until(() => rig.proxy.requests.length >= before + 2, "it asks again", 60_000);
  await expectWhole(informer, told(informer));
});

test("what this process has written is known before the watch brings it, and never taken back by it", async () => {
  const informer = await started();
  rig.proxy.freeze();
  const { body } = await access.call("PATCH", `${rig.path}/a`, { data: { value: "mine" } }, MERGE);
  informer.put(body as ConfigMap);
  expect(valueOf(informer, "a")).toBe("mine");
  const last: (string | undefined)[] = [];
  informer.onChange(() => last.push(valueOf(informer, "a")));
  rig.proxy.thaw();
  await rig.write("c", "then");
  await rig.converged(informer);
  expect(last.every((value) => value === "mine")).toBe(true);
});

test("what was put and is gone since does not come back", async () => {
  const informer = await started();
  const { body } = await access.call("PATCH", `${rig.path}/a`, { data: { value: "mine" } }, MERGE);
  await rig.remove("a");
  await rig.converged(informer);
  informer.put(body as ConfigMap);
  expect(valueOf(informer, "a")).toBeUndefined();
});

test("an informer that is closed while nothing answers ends at once, and start resolves", async () => {
  rig.proxy.freeze();
  const informer = rig.informer();
  const first = informer.start();
  await until(() => rig.proxy.requests.length > 0, "it asks");
  await informer.close();
  await first;
  expect(informer.synced).toBe(false);
});

const MERGE = { "content-type": "application/merge-patch+json" };

function valueOf(informer: Informer<ConfigMap>, name: string): string | undefined {
  return [...informer.objects.values()].find(({ metadata }) => metadata.name === name)?.data?.["value"];
}

function errorLine(code: number): string {
  return `{"type":"ERROR","object":{"kind":"Status","code":${code},"reason":"Expired","message":"too old"}}\n`;
}
