// Whatever is written and whatever the way does meanwhile: in the end an informer holds what the API server has, and has
// told the last state of every object that changed.

import * as fc from "fast-check";
import { expect, test } from "vitest";
import { apiServer, makeNamespace } from "../harness/kube-cluster.ts";
import { type ConfigMap, KubeRig, valuesOf } from "../harness/kube-rig.ts";

const access = apiServer();

type Step =
  | { readonly what: "write"; readonly name: string; readonly value: string }
  | { readonly what: "remove"; readonly name: string }
  /** This process writes it; what was answered reaches the informer at once, or with a later such step. */
  | { readonly what: "put"; readonly name: string; readonly value: string; readonly late: boolean }
  | { readonly what: "freeze" | "thaw" | "reset" | "cut" | "end" | "expire" | "garbage" | "healthy" }
  | { readonly what: "bookmarks"; readonly told: "all" | "list-end" | "none" }
  | { readonly what: "refuse"; readonly status: number; readonly lists: boolean }
  | { readonly what: "wait"; readonly ms: number };

const name = fc.constantFrom("a", "b", "c", "d", "e");
const value = fc.stringMatching(/^[a-z]{1,8}$/);
const change: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ what: fc.constant("write" as const), name, value }),
  fc.record({ what: fc.constant("put" as const), name, value, late: fc.boolean() }),
  fc.record({ what: fc.constant("remove" as const), name }),
);
const fault: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    what: fc.constantFrom("freeze", "thaw", "reset", "cut", "end", "expire", "garbage", "healthy"),
  }) as fc.Arbitrary<Step>,
  fc.record({ what: fc.constant("bookmarks" as const), told: fc.constantFrom("all", "list-end", "none") }),
  fc.record({
    what: fc.constant("refuse" as const),
    status: fc.constantFrom(401, 403, 410, 422, 429, 500, 503, 504),
    lists: fc.boolean(),
  }),
  fc.record({ what: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 400 }) }),
) as fc.Arbitrary<Step>;
const story = fc.array(fc.oneof({ arbitrary: change, weight: 3 }, { arbitrary: fault, weight: 2 }), {
  minLength: 10,
  maxLength: 40,
});

const EXPIRED = `{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n`;
const MERGE = { "content-type": "application/merge-patch+json" };

async function take(rig: KubeRig, step: Step, put: (object: unknown, late: boolean) => void): Promise<void> {
  const { proxy } = rig;
  switch (step.what) {
    case "write":
      return rig.write(step.name, step.value);
    case "remove":
      return rig.remove(step.name);
    case "put": {
      const patch = { data: { value: step.value } };
      const { status, body } = await access.call("PATCH", `${rig.path}/${step.name}`, patch, MERGE);
      if (status === 200) put(body, step.late);
      return;
    }
    case "freeze":
      return proxy.freeze();
    case "thaw":
      return proxy.thaw();
    case "reset":
      return proxy.reset();
    case "cut":
      return proxy.cutLines();
    case "end":
      return proxy.endWatches();
    case "expire":
      return proxy.endWatches(EXPIRED);
    case "garbage":
      return proxy.endWatches('{"type":"ADDED","object":{"meta\n');
    case "healthy":
      return proxy.refuse(() => undefined);
    case "bookmarks":
      proxy.bookmarks = step.told;
      return;
    case "refuse":
      return proxy.refuse(({ query }) => {
        const isList = query["resourceVersion"] === undefined;
        return isList === step.lists ? { status: step.status } : undefined;
      });
    case "wait":
      return new Promise((resolve) => setTimeout(resolve, step.ms));
  }
}

async function live(steps: readonly Step[]): Promise<void> {
  const rig = await KubeRig.make(access, await makeNamespace(access, "property"));
  try {
    const informer = rig.informer({ silenceMs: 500, backoff: { firstMs: 5, maxMs: 100 } });
    const told = new Map<string, string>();
    const valueNow = (key: string): string => informer.objects.get(key)?.data?.["value"] ?? "gone";
    informer.onChange((key) => told.set(key, valueNow(key)));
    const revisions: bigint[] = [];
    informer.onChange(() => revisions.push(informer.revision));
    const started = informer.start();
    const answers: ConfigMap[] = [];
    for (const step of steps) {
      await take(rig, step, (object, late) => {
        answers.push(object as ConfigMap);
        if (!late) for (const answer of answers.splice(0)) informer.put(answer);
      });
    }
    rig.proxy.thaw();
    rig.proxy.refuse(() => undefined);
    rig.proxy.bookmarks = "all";
    await started;
    await rig.converged(informer);
    // The latest of all.
    for (const answer of answers) informer.put(answer);
    expect(valuesOf([...informer.objects.values()])).toEqual(await rig.stored());
    expect(revisions).toEqual(revisions.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0)));
    for (const [key, last] of told) expect([key, last]).toEqual([key, valueNow(key)]);
    for (const key of informer.objects.keys()) expect(told.has(key)).toBe(true);
  } finally {
    await rig.close();
  }
}

test("an informer ends with what the API server has, whatever happened", async () => {
  const seed = Date.now() % 1_000_000;
  process.stdout.write(`seed of the informer's stories: ${seed}\n`);
  await fc.assert(fc.asyncProperty(story, live), { numRuns: 20, seed, endOnFailure: true });
}, 600_000);
