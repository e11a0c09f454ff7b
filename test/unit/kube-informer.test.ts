// What an informer makes of what it is told, with time in the hand and an API server that says what the test wants. At a
// real one, with faults on the way: test/cluster/kube-informer.test.ts.

import pino from "pino";
import { afterEach, expect, test } from "vitest";
import { createRegistry } from "#core/runtime/metrics.ts";
import { type CallOptions, KubeError, type KubeObject } from "../../operator/kube/api.ts";
import { Informer } from "../../operator/kube/informer.ts";
import { linesOf } from "../../operator/kube/watch-lines.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { longestTurn, STALL_MS } from "../harness/longest-turn.ts";
import { metricIn } from "../harness/metrics.ts";
import { settled } from "../harness/settled.ts";

interface Thing extends KubeObject {
  readonly value?: string;
}

/** One open watch, in the test's hand. */
class Stream {
  readonly query: Readonly<Record<string, string>>;
  readonly #pieces: Uint8Array[] = [];
  #news = Promise.withResolvers<void>();
  #end: { readonly error: Error | undefined } | undefined;

  constructor(query: Readonly<Record<string, string>>, signal: AbortSignal) {
    this.query = query;
    signal.addEventListener("abort", () => this.end(new Error("aborted")));
  }

  say(...events: readonly unknown[]): void {
    for (const event of events) this.#pieces.push(Buffer.from(`${JSON.stringify(event)}\n`));
    this.#news.resolve();
  }

  end(error?: Error): void {
    this.#end ??= { error };
    this.#news.resolve();
  }

  async *pieces(): AsyncGenerator<Uint8Array> {
    for (;;) {
      for (let piece = this.#pieces.shift(); piece !== undefined; piece = this.#pieces.shift()) yield piece;
      if (this.#end?.error !== undefined) throw this.#end.error;
      if (this.#end !== undefined) return;
      await this.#news.promise;
      this.#news = Promise.withResolvers();
    }
  }
}

class ScriptedKube {
  readonly streams: Stream[] = [];
  readonly lists: CallOptions[] = [];
  /** Answers of lists, in their order; a KubeError is thrown. */
  readonly answers: unknown[] = [];
  refusesWatch: KubeError | undefined;

  async call<T>(_verb: string, _path: string, options: CallOptions = {}): Promise<T> {
    this.lists.push(options);
    const answer = this.answers.shift();
    if (answer instanceof KubeError) throw answer;
    return answer as T;
  }

  async watch(_path: string, query: Readonly<Record<string, string>>, signal: AbortSignal) {
    if (this.refusesWatch !== undefined) throw this.refusesWatch;
    const stream = new Stream(query, signal);
    this.streams.push(stream);
    return stream.pieces();
  }

  get last(): Stream {
    const stream = this.streams.at(-1);
    if (stream === undefined) throw new Error("there is no watch");
    return stream;
  }
}

const informers: Informer<Thing>[] = [];

afterEach(async () => {
  for (const informer of informers.splice(0)) await informer.close();
});

function informerOf(keep?: (thing: Thing) => Thing) {
  const api = new ScriptedKube();
  const clock = new HandClock();
  const registry = createRegistry("operator");
  const informer = new Informer<Thing>({
    api,
    path: "/things",
    name: "things",
    clock,
    registry,
    log: silent(),
    ...(keep && { keep }),
  });
  informers.push(informer);
  const told: string[] = [];
  informer.onChange((key) => told.push(key));
  const pass = async (ms: number): Promise<void> => {
    await settled();
    clock.advance(ms);
    await settled();
  };
  return { api, clock, registry, informer, told, pass };
}

function silent() {
  return pino({ level: "silent" });
}

function thing(name: string, revision: number, value = "1"): Thing {
  return { metadata: { name, namespace: "here", uid: `uid-${name}`, resourceVersion: String(revision) }, value };
}

function added(name: string, revision: number, value?: string): unknown {
  return { type: "ADDED", object: thing(name, revision, value) };
}

function bookmark(revision: number, annotations?: Record<string, string>): unknown {
  return { type: "BOOKMARK", object: { metadata: { name: "", resourceVersion: String(revision), annotations } } };
}

function listEnd(revision: number): unknown {
  return bookmark(revision, { "k8s.io/initial-events-end": "true" });
}

function expired(): unknown {
  return { type: "ERROR", object: { kind: "Status", code: 410, reason: "Expired", message: "too old" } };
}

/** With a whole list of `a` and `b`. */
async function synced() {
  const made = informerOf();
  const started = made.informer.start();
  await settled();
  made.api.last.say(added("a", 5), added("b", 7), listEnd(9));
  await started;
  made.told.length = 0;
  return made;
}

function valuesOf(informer: Informer<Thing>): Record<string, string | undefined> {
  return Object.fromEntries([...informer.objects].map(([key, { value }]) => [key, value]));
}

test("a list is there when its end has been told, and not before", async () => {
  const { api, informer, told } = informerOf();
  const started = informer.start();
  await settled();
  expect(api.last.query).toMatchObject({
    sendInitialEvents: "true",
    resourceVersionMatch: "NotOlderThan",
    allowWatchBookmarks: "true",
  });
  const seconds = Number(api.last.query["timeoutSeconds"]);
  expect(seconds).toBeGreaterThanOrEqual(300);
  expect(seconds).toBeLessThanOrEqual(600);
  api.last.say(added("a", 5), added("b", 7), bookmark(8));
  await settled();
  expect([informer.objects.size, informer.revision, informer.synced]).toEqual([0, 0n, false]);
  api.last.say({ type: "DELETED", object: thing("b", 9) }, listEnd(9));
  await started;
  expect(valuesOf(informer)).toEqual({ "here/a": "1" });
  expect([informer.revision, informer.synced, told]).toEqual([9n, true, ["here/a"]]);
});

test("every event and every bookmark moves the revision on", async () => {
  const { api, informer, told } = await synced();
  api.last.say(added("c", 12), { type: "MODIFIED", object: thing("a", 14, "2") });
  await settled();
  expect([informer.revision, valuesOf(informer)]).toEqual([14n, { "here/a": "2", "here/b": "1", "here/c": "1" }]);
  api.last.say({ type: "DELETED", object: thing("b", 15) }, bookmark(20));
  await settled();
  expect([informer.revision, valuesOf(informer)]).toEqual([20n, { "here/a": "2", "here/c": "1" }]);
  expect(told).toEqual(["here/c", "here/a", "here/b"]);
});

test("a watch that ends goes on from the last revision that was told, by event or bookmark", async () => {
  const { api, pass } = await synced();
  api.last.say(bookmark(31));
  await settled();
  api.last.end();
  await pass(1_000);
  expect(api.streams).toHaveLength(2);
  expect(api.last.query["resourceVersion"]).toBe("31");
  expect(api.last.query["sendInitialEvents"]).toBeUndefined();
});

test("nothing heard for 100 s ends a watch; any byte keeps it", async () => {
  const { api, pass } = await synced();
  for (let round = 0; round < 5; round++) {
    await pass(60_000);
    api.last.say(bookmark(40 + round));
  }
  expect(api.streams).toHaveLength(1);
  await pass(111_000);
  await pass(1_000);
  expect(api.streams).toHaveLength(2);
});

test("a revision that is never answered anything for leads to a new list", async () => {
  const { api, pass } = await synced();
  while (api.streams.length < 4) await pass(10_000);
  expect(api.streams.map(({ query }) => query["sendInitialEvents"])).toEqual(["true", undefined, undefined, "true"]);
});

test("a cluster that was put back from a backup is taken as it is", async () => {
  const { api, informer, told, pass } = await synced();
  api.last.say(expired());
  await pass(1_000);
  api.last.say(added("a", 2, "old"), added("z", 3), listEnd(4));
  await settled();
  expect(valuesOf(informer)).toEqual({ "here/a": "old", "here/z": "1" });
  expect(informer.revision).toBe(4n);
  expect(told.toSorted()).toEqual(["here/a", "here/b", "here/z"]);
});

test("a new list tells only what differs, and objects that did not change stay the ones that they are", async () => {
  const { api, informer, told, registry, pass } = await synced();
  const before = informer.objects.get("here/a");
  api.last.say(expired());
  await pass(1_000);
  api.last.say(added("a", 5), added("c", 11), listEnd(12));
  await settled();
  expect(told).toEqual(["here/c", "here/b"]);
  expect(informer.objects.get("here/a")).toBe(before);
  expect(metricIn(await registry.metrics(), "earshot_operator_informer_lists_total")).toBe(2);
});

test("what was put stays through an older list, and through older events", async () => {
  const { api, informer, pass } = await synced();
  informer.put(thing("a", 50, "mine"));
  informer.put(thing("made", 51, "mine"));
  api.last.say({ type: "MODIFIED", object: thing("a", 20, "older") }, expired());
  await pass(1_000);
  api.last.say(added("a", 20, "older"), added("b", 7), listEnd(30));
  await settled();
  expect(valuesOf(informer)).toEqual({ "here/a": "mine", "here/b": "1", "here/made": "mine" });
  api.last.say({ type: "DELETED", object: thing("a", 52) }, added("made", 51, "mine"));
  await settled();
  expect(valuesOf(informer)).toEqual({ "here/b": "1", "here/made": "mine" });
});

test("what the watch has long told is not put again", async () => {
  const { informer, told } = await synced();
  informer.put(thing("a", 5, "old"));
  informer.put(thing("gone", 8, "old"));
  expect([valuesOf(informer), told]).toEqual([{ "here/a": "1", "here/b": "1" }, []]);
});

test("where WatchList is refused, pages are read to the end, and one that is too old begins them anew", async () => {
  const { api, informer, pass } = informerOf();
  api.refusesWatch = new KubeError("forbidden", { status: 422, reason: "Invalid" });
  const gone = new KubeError("too old", { status: 410, reason: "Expired" });
  const page = (items: readonly Thing[], next?: string): unknown => ({
    apiVersion: "v1",
    kind: "ThingList",
    metadata: { resourceVersion: "40", ...(next === undefined ? {} : { continue: next }) },
    items,
  });
  api.answers.push(page([thing("a", 5)], "token"), gone, page([thing("a", 5)], "token"), page([thing("b", 7)]));
  const started = informer.start();
  await settled();
  api.refusesWatch = undefined;
  for (let round = 0; round < 3; round++) await pass(1_000);
  await started;
  expect(api.lists.map(({ query }) => query)).toEqual([
    { limit: "500" },
    { limit: "500", continue: "token" },
    { limit: "500" },
    { limit: "500", continue: "token" },
  ]);
  expect([...informer.objects.keys()]).toEqual(["here/a", "here/b"]);
  expect(informer.objects.get("here/a")).toMatchObject({ apiVersion: "v1", kind: "Thing" });
  expect(api.last.query["resourceVersion"]).toBe("40");
});

test("fields that nobody reads are not kept", async () => {
  const { api, informer } = await synced();
  const annotations = { "kubectl.kubernetes.io/last-applied-configuration": "{}", kept: "yes" };
  const metadata = { ...thing("c", 12).metadata, annotations, managedFields: [{ manager: "kubectl" }] };
  api.last.say({ type: "ADDED", object: { metadata } });
  await settled();
  expect(informer.objects.get("here/c")?.metadata).toEqual({
    ...thing("c", 12).metadata,
    annotations: { kept: "yes" },
  });
});

test("100 failures in a row wait longer and longer, and the next success is a success", async () => {
  const { api, informer, clock, pass } = informerOf();
  api.refusesWatch = new KubeError("no answer", { status: 0, reason: "NoAnswer" });
  api.answers.push(...Array.from({ length: 200 }, () => api.refusesWatch));
  const started = informer.start();
  const beganMs = clock.monotonic();
  await pass(0);
  for (let second = 0; second < 100; second++) await pass(1_000);
  // 5 to 10 s between tries; every second one is a list by pages.
  expect(api.lists.length).toBeLessThan(15);
  expect(api.lists.length).toBeGreaterThan(4);
  api.refusesWatch = undefined;
  for (let second = 0; second < 25; second++) await pass(1_000);
  api.streams.at(-1)?.say(added("a", 5), listEnd(9));
  await started;
  expect(clock.monotonic() - beganMs).toBeLessThan(130_000);
});

test("tens of thousands of objects do not hold the event loop", async () => {
  const { api, informer } = informerOf();
  const conditions = Array.from({ length: 5 }, (_, index) => ({ type: `T${index}`, message: "x".repeat(100) }));
  const started = informer.start();
  await settled();
  const spoken = longestTurn(async () => {
    for (let from = 0; from < 20_000; from += 50) {
      api.last.say(
        ...Array.from({ length: 50 }, (_, index) => ({
          type: "ADDED",
          object: { ...thing(`t-${from + index}`, from + index + 1), status: { conditions } },
        })),
      );
      await new Promise((resolve) => setImmediate(resolve));
    }
    api.last.say(listEnd(100_000));
    await started;
  });
  expect(await spoken).toBeLessThan(STALL_MS);
  expect(informer.objects.size).toBe(20_000);
});

test("informers of one name are counted together, and all of them are synced or none", async () => {
  const { api, registry, clock, informer } = await synced();
  const other = new Informer<Thing>({
    api,
    path: "/there/things",
    name: "things",
    clock,
    registry,
    log: silent(),
  });
  informers.push(other);
  const metric = async (name: string): Promise<number> =>
    metricIn(await registry.metrics(), `earshot_operator_informer_${name}`, 'name="things"');
  expect([await metric("objects"), await metric("synced")]).toEqual([2, 0]);
  clock.advance(5_000);
  expect(await metric("silent_seconds")).toBe(5);
  const started = other.start();
  await settled();
  api.last.say(added("c", 5), listEnd(9));
  await started;
  expect([await metric("objects"), await metric("synced"), informer.objects.size]).toEqual([3, 1, 2]);
  expect(await metric("silent_seconds")).toBe(5);
});

async function linesIn(pieces: readonly string[], bytesMax?: number): Promise<string[]> {
  const lines: string[] = [];
  const stream = (async function* () {
    for (const piece of pieces) yield Buffer.from(piece, "latin1");
  })();
  for await (const line of linesOf(stream, () => undefined, bytesMax)) lines.push(line);
  return lines;
}

test("lines are told whole, however they come in pieces", async () => {
  const text = Buffer.from('{"a":"ü"}\n\n{"b":"€"}\n{"half":').toString("latin1");
  const whole = ['{"a":"ü"}', '{"b":"€"}'];
  expect(await linesIn([text])).toEqual(whole);
  expect(await linesIn(text.split(""))).toEqual(whole);
  expect(await linesIn([text.slice(0, 11), text.slice(11)])).toEqual(whole);
});

test("a line may be as long as the limit, and not longer", async () => {
  expect(await linesIn(["x".repeat(10), "\n"], 10)).toEqual(["x".repeat(10)]);
  await expect(linesIn(["x".repeat(11), "\n"], 10)).rejects.toThrow("longer than 10 bytes");
  await expect(linesIn(["x".repeat(11)], 10)).rejects.toThrow("longer than 10 bytes");
  await expect(linesIn(["xxxxx", "xxxxxx\n"], 10)).rejects.toThrow("longer than 10 bytes");
});

test("of each object only what `keep` makes of it is kept, however it came", async () => {
  const { informer, api } = informerOf(({ metadata }) => ({ metadata, value: "kept" }));
  const started = informer.start();
  await settled();
  api.last.say(added("listed", 5), listEnd(9));
  await started;
  api.last.say(added("watched", 10));
  await settled();
  informer.put(thing("written", 11));
  expect(valuesOf(informer)).toEqual({ "here/listed": "kept", "here/watched": "kept", "here/written": "kept" });
});
