// The rules of the Topic's schema at a real API server: each by what passes and by what fails, with the sentence that its
// author reads; and what the server fills in or leaves out.

import { beforeAll, describe, expect, test } from "vitest";
import { readCustomResource } from "../../operator/schema/crd.ts";
import { apiServer, makeNamespace } from "../harness/kube-cluster.ts";
import {
  causesOf,
  getTopic,
  type Manifest,
  makeTopic,
  patchTopic,
  stored,
  topicOf,
  topicPath,
  tryTopic,
} from "../harness/kube-topics.ts";

const api = apiServer();
let namespace = "";

beforeAll(async () => {
  namespace = await makeNamespace(api, "rules");
});

/** What the server says is wrong with a manifest, a line for each field; empty: nothing. */
async function problemsOf(manifest: Manifest): Promise<readonly string[]> {
  const answer = await tryTopic(api, namespace, manifest);
  return causesOf(answer).map(({ field, message }) => `${field}: ${message.replace(/^Invalid value: "object": /, "")}`);
}

describe("a subject", () => {
  const NAMESPACE_RULE = "a subject has a namespace exactly when its kind is ServiceAccount";
  const NAME_RULE = "a subject needs a name; only a ChannelUser has none, since the channel names the user";

  test.for([
    { kind: "User", name: "alice" },
    { kind: "Group", name: "staff" },
    { kind: "ServiceAccount", namespace: "shop", name: "checkout" },
    { kind: "ChannelUser" },
  ])("%j passes", async (subject) => {
    expect(await problemsOf(topicOf("x", { publishers: [subject], subscribers: [subject] }))).toEqual([]);
  });

  test.for([
    [{ kind: "User", namespace: "shop", name: "alice" }, NAMESPACE_RULE],
    [{ kind: "Group", namespace: "shop", name: "staff" }, NAMESPACE_RULE],
    [{ kind: "ChannelUser", namespace: "shop" }, NAMESPACE_RULE],
    [{ kind: "ServiceAccount", name: "checkout" }, NAMESPACE_RULE],
    [{ kind: "User" }, NAME_RULE],
    [{ kind: "Group" }, NAME_RULE],
    [{ kind: "ServiceAccount", namespace: "shop" }, NAME_RULE],
    [{ kind: "ChannelUser", name: "alice" }, NAME_RULE],
  ] as const)("%j is refused", async ([subject, rule]) => {
    const right = { kind: "ChannelUser" };
    expect(await problemsOf(topicOf("x", { publishers: [right, subject] }))).toEqual([`spec.publishers[1]: ${rule}`]);
    expect(await problemsOf(topicOf("x", { subscribers: [subject] }))).toEqual([`spec.subscribers[0]: ${rule}`]);
  });

  test("is refused without a kind", async () => {
    expect(await problemsOf(topicOf("x", { publishers: [{ name: "alice" }] }))).toEqual([
      "spec.publishers[0].kind: Required value",
    ]);
  });
});

describe("a Topic's name", () => {
  test.for(["a", "a.b", "eu.orders-2", "1", "a".repeat(189)])("%s passes", async (name) => {
    expect(await problemsOf(topicOf(name))).toEqual([]);
  });

  test("of 190 characters is refused", async () => {
    expect(await problemsOf(topicOf("a".repeat(190)))).toEqual([
      "metadata.name: a Topic's name has at most 189 characters, so that its topic id <namespace>.<name> fits 253",
    ]);
  });

  test.for(["Orders", "a_b", "a:b", "-a", "a..b"])("%s is refused", async (name) => {
    const [problem, ...others] = await problemsOf(topicOf(name));
    expect(others).toEqual([]);
    expect(problem).toMatch(/^metadata\.name: .*RFC 1123 subdomain/);
  });
});

describe("the owner", () => {
  const RULE = "spec.owner: the owner cannot be changed; delete the Topic and make it anew";

  async function refusal(name: string, spec: unknown): Promise<string> {
    const answer = await patchTopic(api, [namespace, name], { spec });
    const [cause, ...others] = causesOf(answer);
    expect(others).toEqual([]);
    return `${cause?.field}: ${cause?.message.replace('Invalid value: "object": ', "")}`;
  }

  test("is set when the Topic is made, and stays", async () => {
    await makeTopic(api, namespace, "owned", { owner: "alice" });
    expect(await refusal("owned", { owner: "bob" })).toBe(RULE);
    expect(await refusal("owned", { owner: null })).toBe(RULE);
    expect(await refusal("owned", null)).toBe(RULE);
    const changed = stored(
      await patchTopic(api, [namespace, "owned"], { spec: { owner: "alice", channels: "Dynamic" } }),
    );
    expect(changed.spec).toMatchObject({ owner: "alice", channels: "Dynamic" });
  });

  test("cannot be added later", async () => {
    await makeTopic(api, namespace, "ownerless");
    expect(await refusal("ownerless", { owner: "bob" })).toBe(RULE);
    expect((await getTopic(api, namespace, "ownerless")).spec).not.toHaveProperty("owner");
  });

  test("can be another when the Topic is deleted and made anew", async () => {
    await makeTopic(api, namespace, "again", { owner: "alice" });
    expect((await api.call("DELETE", topicPath(namespace, "again"))).status).toBe(200);
    expect((await makeTopic(api, namespace, "again", { owner: "bob" })).spec).toMatchObject({ owner: "bob" });
  });
});

describe("defaults", () => {
  const DELIVERY = {
    slowConsumer: "DropOldest",
    maxMessageBytes: 65_536,
    batchWindowMilliseconds: 0,
    priority: "Normal",
  };
  const LIMITS = { maxPublishesPerSecond: 1_000, maxSubscribers: 0, maxChannels: 0 };
  const SPEC = { permissions: "Private", channels: "None", presence: "Count", delivery: DELIVERY, limits: LIMITS };

  test.for([
    ["without a spec", undefined],
    ["with an empty spec", {}],
    ["with a spec that is null", null],
    ["with groups that are empty", { delivery: {}, limits: {} }],
    ["with fields that are null", { permissions: null, owner: null, publishers: null, delivery: null, limits: null }],
  ] as const)("are all there %s", async ([, spec]) => {
    expect(stored(await tryTopic(api, namespace, topicOf("x", spec))).spec).toEqual(SPEC);
  });

  test("fill the fields beside those that are said", async () => {
    const said = { delivery: { priority: "Low" }, limits: { maxChannels: 7 }, presence: "None" };
    const answer = stored(await tryTopic(api, namespace, topicOf("x", said)));
    expect(answer.spec).toEqual({
      ...SPEC,
      presence: "None",
      delivery: { ...DELIVERY, priority: "Low" },
      limits: { ...LIMITS, maxChannels: 7 },
    });
  });

  test("say that nobody has looked at a new Topic yet, whatever its maker says of its status", async () => {
    const eager = { ...topicOf("eager"), status: { topicId: "shop.eager", conditions: [] } };
    const made = stored(await api.call("POST", topicPath(namespace), eager));
    expect(made.status).toEqual({
      conditions: [
        {
          type: "Ready",
          status: "Unknown",
          reason: "Pending",
          message: "Waiting for operator",
          lastTransitionTime: "1970-01-01T00:00:00Z",
        },
      ],
    });
  });
});

describe("an unknown field", () => {
  const [spec, subject] = [{ permisions: "Public" }, { publishers: [{ kind: "User", name: "a", uid: "b" }] }];

  test.for([
    ["spec.permisions", topicOf("x", spec)],
    ["spec.delivery.ttl", topicOf("x", { delivery: { ttl: 5 } })],
    ["spec.publishers[0].uid", topicOf("x", subject)],
    ["metadata.lables", { ...topicOf("x"), metadata: { name: "x", lables: {} } }],
    ["data", { ...topicOf("x"), data: {} }],
  ] as const)("%s is told to whoever asks for strictness, as kubectl does", async ([field, manifest]) => {
    expect(await problemsOf(manifest)).toEqual([`${field}: unknown field "${field}"`]);
  });

  test("is a warning by default, and not kept", async () => {
    const answer = await api.call("POST", topicPath(namespace), topicOf("warned", spec));
    expect(answer.warnings).toEqual(['unknown field "spec.permisions"']);
    expect((await getTopic(api, namespace, "warned")).spec).not.toHaveProperty("permisions");
  });
});

test("every rule of the Topic's schema is tried above", () => {
  const schema = readCustomResource("topics.earshot.dev").schema;
  const rules: string[] = [];
  const collect = (node: typeof schema): void => {
    rules.push(...(node["x-kubernetes-validations"] ?? []).map(({ message }) => message));
    for (const child of Object.values(node.properties ?? {})) collect(child);
    if (node.items !== undefined) collect(node.items);
  };
  collect(schema);
  expect(new Set(rules).size).toBe(4);
});
