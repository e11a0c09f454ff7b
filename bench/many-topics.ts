// Owns: very many Topics in an API server that is alone, in little time: one is made as anybody does, and what the server
// kept of it in etcd is written there again under other names. The server then lists and watches them as its own.

import { randomUUID } from "node:crypto";
import type { KubeFleet } from "../test/harness/kube-fleet.ts";
import { stored, topicOf, topicPath } from "../test/harness/kube-topics.ts";
import { until } from "../test/harness/until.ts";

/** As an application's: some of the policy, a few subjects. */
const SPEC = {
  permissions: "Private",
  owner: "alice",
  publishers: [
    { kind: "ServiceAccount", namespace: "shop", name: "checkout" },
    { kind: "Group", name: "editors" },
  ],
  subscribers: [
    { kind: "ServiceAccount", namespace: "shop", name: "kitchen" },
    { kind: "User", name: "carol" },
  ],
  channels: "Dynamic",
  delivery: { slowConsumer: "DropOldest", maxMessageBytes: 65_536 },
  limits: { maxPublishesPerSecond: 100 },
};

/** Writes of one transaction: the most that etcd takes. */
const TRANSACTION_LENGTH_MAX = 128;

/** Milliseconds in which the API server has heard of what etcd has. */
const SEEN_MS = 120_000;

interface Found {
  readonly kvs?: readonly { readonly value: string }[];
}

/** `count` Topics `<prefix>-<index>`, spread over namespaces that are there. */
export async function makeManyTopics(fleet: KubeFleet, namespaces: readonly string[], count: number): Promise<void> {
  const [first = ""] = namespaces;
  stored(await fleet.api.call("POST", topicPath(first), topicOf("template", SPEC)));
  const key = (namespace: string, name: string): string => base64(`/registry/earshot.dev/topics/${namespace}/${name}`);
  const found = await ask<Found>(fleet, "range", { key: key(first, "template") });
  const template = JSON.parse(Buffer.from(found.kvs?.[0]?.value ?? "", "base64").toString()) as Template;
  stored(await fleet.api.call("DELETE", topicPath(first, "template")));
  for (let from = 0; from < count; from += TRANSACTION_LENGTH_MAX) {
    const length = Math.min(TRANSACTION_LENGTH_MAX, count - from);
    const success = Array.from({ length }, (_, index) => {
      const namespace = namespaces[(from + index) % namespaces.length] ?? "";
      const name = `topic-${from + index}`;
      const metadata = { ...template.metadata, namespace, name, uid: randomUUID() };
      const value = base64(JSON.stringify({ ...template, metadata }));
      return { requestPut: { key: key(namespace, name), value } };
    });
    await ask(fleet, "txn", { success });
  }
  const last = topicPath(namespaces[(count - 1) % namespaces.length] ?? "", `topic-${count - 1}`);
  await until(async () => (await fleet.api.call("GET", last)).status === 200, "the API server has them all", SEEN_MS);
}

interface Template {
  readonly metadata: object;
}

/** etcd's JSON door (https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway). */
async function ask<T>({ server }: KubeFleet, what: "range" | "txn", body: unknown): Promise<T> {
  const answer = await fetch(`${server.etcdUrl}/v3/kv/${what}`, { method: "POST", body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`etcd answered ${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as T;
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}
