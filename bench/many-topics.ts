// Owns: very many Topics in an API server that is alone, in little time: one is made as anybody does, and what the server
// kept of it in etcd is written there again under other names. The server then lists and watches them as its own.

import { randomUUID } from "node:crypto";
import type { KubeFleet } from "../test/harness/kube-fleet.ts";
import { getTopic, stored, TOPICS_API, topicOf, topicPath } from "../test/harness/kube-topics.ts";
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

/** Milliseconds in which the API server has read what etcd has. */
const SEEN_MS = 900_000;

export interface Template {
  readonly metadata: object;
  readonly status?: { readonly topicId?: string };
}

interface Found {
  readonly kvs?: readonly { readonly value: string }[];
}

/** What etcd keeps of one Topic: of one that has just been made, or that an operator has written a status of. */
export async function takeTemplate(fleet: KubeFleet, namespace: string, isWritten: boolean): Promise<Template> {
  stored(await fleet.api.call("POST", topicPath(namespace), topicOf("template", SPEC)));
  const isReady = async (): Promise<boolean> => {
    const { conditions } = (await getTopic(fleet.api, namespace, "template")).status;
    return conditions.some(({ type, status }) => type === "Ready" && status === "True");
  };
  if (isWritten) await until(isReady, "the template is Ready", SEEN_MS);
  const found = await ask<Found>(fleet, "range", { key: etcdKey(namespace, "template") });
  stored(await fleet.api.call("DELETE", topicPath(namespace, "template")));
  return JSON.parse(Buffer.from(found.kvs?.[0]?.value ?? "", "base64").toString()) as Template;
}

/** `count` Topics `topic-<index>`, spread over namespaces that are there. */
export async function makeManyTopics(
  fleet: KubeFleet,
  template: Template,
  namespaces: readonly string[],
  count: number,
): Promise<void> {
  for (let from = 0; from < count; from += TRANSACTION_LENGTH_MAX) {
    const length = Math.min(TRANSACTION_LENGTH_MAX, count - from);
    const success = Array.from({ length }, (_, index) => {
      const namespace = namespaces[(from + index) % namespaces.length] ?? "";
      const name = `topic-${from + index}`;
      const metadata = { ...template.metadata, namespace, name, uid: randomUUID() };
      const { status } = template;
      const own = status?.topicId === undefined ? status : { ...status, topicId: `${namespace}.${name}` };
      const value = base64(JSON.stringify({ ...template, metadata, status: own }));
      return { requestPut: { key: etcdKey(namespace, name), value } };
    });
    await ask(fleet, "txn", { success });
  }
  const last = await fleet.api.call(
    "GET",
    topicPath(namespaces[(count - 1) % namespaces.length] ?? "", `topic-${count - 1}`),
  );
  const revision = stored(last).metadata.resourceVersion;
  const query = `?limit=1&resourceVersion=${revision}&resourceVersionMatch=NotOlderThan`;
  // Its cache, which lists and watches are served from, reads a change in some 0.2 ms.
  const isSeen = async (): Promise<boolean> =>
    (await fleet.api.call("GET", `${TOPICS_API}/topics${query}`)).status === 200;
  await until(isSeen, "the API server has them all", SEEN_MS);
}

function etcdKey(namespace: string, name: string): string {
  return base64(`/registry/earshot.dev/topics/${namespace}/${name}`);
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
