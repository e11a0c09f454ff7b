// What whoever waits for a Topic is told: `kubectl wait`, and kstatus (Helm's --wait), of every status that the operator
// decides. Statuses are those of operator/reconcile/conditions.ts, written to a real API server and read back.

import { beforeAll, expect, test } from "vitest";
import { decideStatus, type Programmed, type TopicFacts } from "../../operator/reconcile/conditions.ts";
import { kstatusOf } from "../harness/kstatus.ts";
import { apiServer, makeNamespace } from "../harness/kube-cluster.ts";
import { makeTopic, patchTopic, type StoredTopic, stored } from "../harness/kube-topics.ts";

const api = apiServer();
let namespace = "";

beforeAll(async () => {
  namespace = await makeNamespace(api, "waiting");
});

interface Known {
  readonly rejected?: string;
  readonly clamped?: string;
  readonly programmed?: Programmed;
  readonly hot?: boolean;
}

const NOTHING_KNOWN: Omit<TopicFacts, "topicId" | "generation"> = {
  rejected: undefined,
  clamped: undefined,
  programmed: { kind: "done" },
  hot: false,
  remark: undefined,
};

/** Writes the status that the operator decides for `generation` from what is known. */
async function report(
  [space, name]: readonly [namespace: string, name: string],
  generation: number,
  known: Known,
): Promise<StoredTopic> {
  const facts: TopicFacts = { ...NOTHING_KNOWN, topicId: `${space}.${name}`, generation, ...known };
  const status = decideStatus(facts, undefined, 0);
  return stored(await patchTopic(api, [space, name], { status }, "/status"));
}

/** Whether `kubectl wait` is satisfied at once. */
async function isReadyToKubectl(name: string): Promise<boolean> {
  const args = ["wait", "-n", namespace, `topic/${name}`, "--for=condition=Ready", "--timeout=0s"];
  return (await api.tryKubectl(args)).code === 0;
}

test("a new Topic is in progress, whoever waits goes on waiting", async () => {
  const topic = await makeTopic(api, namespace, "new");
  expect(kstatusOf(topic)).toBe("InProgress");
  expect(await isReadyToKubectl("new")).toBe(false);
});

test.for<[name: string, known: Known, kstatus: string, isReady: boolean]>([
  ["accepted and everywhere", {}, "Current", true],
  ["clamped and everywhere", { clamped: "maxMessageBytes is 1024 here" }, "Current", true],
  ["not everywhere yet", { programmed: { kind: "waiting" } }, "InProgress", false],
  ["not everywhere in time", { programmed: { kind: "gaveUp", missing: 1, connected: 4 } }, "Current", true],
  ["hot", { hot: true }, "Current", true],
  ["refused", { rejected: "spec.owner is wrong" }, "Failed", false],
  ["refused, and not everywhere", { rejected: "it is wrong", programmed: { kind: "waiting" } }, "Failed", false],
])("a Topic that is %s", async ([what, known, kstatus, isReady]) => {
  const name = what.replaceAll(/[ ,]+/g, "-");
  await makeTopic(api, namespace, name);
  const topic = await report([namespace, name], 1, known);
  expect(kstatusOf(topic)).toBe(kstatus);
  expect(await isReadyToKubectl(name)).toBe(isReady);
});

test("a Topic whose spec was changed since is in progress until the operator has seen it", async () => {
  await makeTopic(api, namespace, "changed");
  const ready = await report([namespace, "changed"], 1, {});
  expect([kstatusOf(ready), await isReadyToKubectl("changed")]).toEqual(["Current", true]);
  const changed = stored(await patchTopic(api, [namespace, "changed"], { spec: { presence: "None" } }));
  expect([kstatusOf(changed), await isReadyToKubectl("changed")]).toEqual(["InProgress", false]);
  const again = await report([namespace, "changed"], 2, {});
  expect([kstatusOf(again), await isReadyToKubectl("changed")]).toEqual(["Current", true]);
});

test("kubectl wait ends when the operator says that a Topic is ready", async () => {
  await makeTopic(api, namespace, "awaited");
  const waiting = api.kubectl(["wait", "-n", namespace, "topic/awaited", "--for=condition=Ready", "--timeout=100s"]);
  await report([namespace, "awaited"], 1, {});
  expect(await waiting).toBe("topic.earshot.dev/awaited condition met\n");
});

test("columns say who may do what, and how it stands", async () => {
  const list = await makeNamespace(api, "columns");
  const make = async (name: string, spec: unknown, known?: Known): Promise<void> => {
    await makeTopic(api, list, name, spec);
    if (known !== undefined) await report([list, name], 1, known);
  };
  await make("chat", { permissions: "Public", channels: "Dynamic" }, {});
  await make("inbox", { channels: "Dynamic" }, { clamped: "lowered" });
  await make("orders", { permissions: "SubscribeOnly" });
  await make("prices", { permissions: "PublishOnly" }, { rejected: "it is wrong" });
  const get = async (...args: string[]): Promise<string> =>
    // Ages differ from run to run.
    `\n${(await api.kubectl(["get", ...args, "-n", list])).replaceAll(/ \d+s$/gm, " 0s")}`;
  const rows = await get("topics");
  expect(rows).toBe(`
NAME     PERMISSIONS     CHANNELS   READY     REASON    AGE
chat     Public          Dynamic    True      Ready     0s
inbox    Private         Dynamic    True      Clamped   0s
orders   SubscribeOnly   None       Unknown   Pending   0s
prices   PublishOnly     None       False     Invalid   0s
`);
  expect(await get("tp")).toBe(rows);
  expect(await get("topics", "-o", "wide")).toBe(rows);
  // The category: everything of ours, whatever its kind.
  expect(await get("earshot")).toContain("topic.earshot.dev/chat");
});
