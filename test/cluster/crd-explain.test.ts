// What `kubectl explain` and other readers of the published schema are told.

import { expect, test } from "vitest";
import { apiServer } from "../harness/kube-cluster.ts";
import { TOPICS_API } from "../harness/kube-topics.ts";

const api = apiServer();

interface PublishedNode {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, PublishedNode>>;
  readonly items?: PublishedNode;
}

function* undescribed(node: PublishedNode, path: string): Generator<string> {
  if (!/\S.*[^,]$/s.test(node.description ?? "")) yield path;
  for (const [name, child] of Object.entries(node.properties ?? {})) yield* undescribed(child, `${path}.${name}`);
  if (node.items !== undefined) yield* undescribed(node.items, `${path}[]`);
}

test("every field of both kinds is explained", async () => {
  const { body } = await api.call("GET", `/openapi/v3${TOPICS_API}`);
  const { schemas } = (body as { components: { schemas: Record<string, PublishedNode> } }).components;
  for (const kind of ["Topic", "ShardMap"]) {
    const node = schemas[`dev.earshot.v1alpha1.${kind}`];
    // What metadata holds is Kubernetes' own.
    const { metadata: _, ...properties } = node?.properties ?? {};
    expect(Object.keys(properties).length).toBeGreaterThan(3);
    expect([...undescribed({ ...node, properties }, kind)]).toEqual([]);
  }
});

/** Without the spaces at line ends that kubectl writes. */
async function explain(field: string): Promise<string> {
  return `\n${(await api.kubectl(["explain", field])).replaceAll(/ +$/gm, "").trim()}\n`;
}

test("kubectl explain topic begins with what a Topic is", async () => {
  expect(await explain("topic")).toContain(`
DESCRIPTION:
    A Topic is a name that messages are spoken on, and the policy that rules it.
    Whoever is subscribed when a message is spoken hears it; nobody else ever
    will: there is no storage and no replay.
`);
});

test("kubectl explain topic.spec.delivery", async () => {
  expect(await explain("topic.spec.delivery")).toMatchInlineSnapshot(`
    "
    GROUP:      earshot.dev
    KIND:       Topic
    VERSION:    v1alpha1

    FIELD: delivery <Object>


    DESCRIPTION:
        How messages are handed to subscribers.

    FIELDS:
      batchWindowMilliseconds	<integer>
        Milliseconds for which messages may be collected before they are written to
        subscribers together. 0 - no message waits.

      maxMessageBytes	<integer>
        Largest payload in bytes. The installation may have a lower ceiling; then
        the Topic is accepted with the reason Clamped.

      priority	<string>
      enum: Normal, Low
        What gives way under load - Low messages are dropped first.

      slowConsumer	<string>
      enum: DropOldest, DropNewest, Disconnect
        What happens when a subscriber does not read fast enough - its oldest unsent
        messages of this Topic are dropped, the newest are, or it is disconnected.
        It is told of every loss.
    "
  `);
});

test("kubectl explain topic.spec.publishers.kind", async () => {
  expect(await explain("tp.spec.publishers.kind")).toMatchInlineSnapshot(`
    "
    GROUP:      earshot.dev
    KIND:       Topic
    VERSION:    v1alpha1

    FIELD: kind <string>
    ENUM:
        User
        Group
        ServiceAccount
        ChannelUser

    DESCRIPTION:
        What is named - User by the subject of its token, Group by a group in the
        token, ServiceAccount by namespace and name, or ChannelUser, the user whose
        id is the channel (shop.inbox:alice belongs to alice).
    "
  `);
});
