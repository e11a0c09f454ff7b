// Topics made over HTTP in Kubernetes: each is an object like those of kubectl, made with the rights that the chart gives, and
// what the API server refuses is told in our codes.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { KUBE_ASSETS } from "../harness/api-server.ts";
import { type Answer, call } from "../harness/http.ts";
import { INSTALLED_IN, KubeFleet, RELEASE } from "../harness/kube-fleet.ts";
import { getTopic, makeTopic, patchTopic, stored, topicPath } from "../harness/kube-topics.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";

/** As in test/golden/chart/values/namespaced.yaml, whose rights are taken. */
const NAMESPACE = "chat";
const CHART = join(import.meta.dirname, "../golden/chart/namespaced.yaml");
const TOPICS = "/api/v1/topics";
const PATIENCE_MS = 60_000;

let kube: KubeFleet;
const alice = signToken({ sub: "alice" });

function ask(method: string, path: string, body?: unknown, gateway = "gateway-0"): Promise<Answer> {
  return call(kube.processes.http(gateway), method, path, { token: alice, ...(body === undefined ? {} : { body }) });
}

function make(name: string, gateway?: string): Promise<Answer> {
  return ask("POST", TOPICS, { name, permissions: "PUBLIC" }, gateway);
}

/** The operator that holds the Lease. */
async function leader(): Promise<string> {
  const path = `/apis/coordination.k8s.io/v1/namespaces/${INSTALLED_IN}/leases/${RELEASE}`;
  const { spec } = (await kube.api.call("GET", path)).body as { spec: { holderIdentity: string } };
  return spec.holderIdentity.split("_")[0] ?? "";
}

async function isThere(name: string): Promise<boolean> {
  return (await kube.api.call("GET", topicPath(NAMESPACE, name))).status === 200;
}

describe.skipIf(KUBE_ASSETS === undefined)("over HTTP", () => {
  beforeAll(async () => {
    kube = await KubeFleet.start({
      operators: 2,
      env: { EARSHOT_HTTP_TOPICS_NAMESPACE: NAMESPACE, EARSHOT_HTTP_TOPICS_CREATE: "Authenticated" },
    });
    await kube.api.kubectl(["create", "namespace", NAMESPACE]);
    const items = parseAllDocuments(readFileSync(CHART, "utf8"))
      .map((document) => document.toJS() as { metadata: { name: string } } | null)
      .filter((object) => object?.metadata.name.endsWith("-http-topics") === true);
    expect(items).toHaveLength(2);
    await kube.api.kubectl(["apply", "-f", "-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  });

  afterAll(() => kube?.close());

  test("a Topic is made as an object that names its owner, at every gateway and whichever operator leads", async () => {
    const first = await leader();
    for (const gateway of ["gateway-0", "gateway-1"]) {
      const name = `made-at-${gateway}`;
      const made = await make(name, gateway);
      expect(made).toMatchObject({ status: 201, json: { topic_id: `${NAMESPACE}.${name}`, owner_id: "alice" } });
      const { metadata, spec } = await getTopic(kube.api, NAMESPACE, name);
      expect(metadata.labels).toEqual({ "earshot.dev/made-over": "http" });
      expect(spec).toMatchObject({ owner: "alice", permissions: "Public" });
    }
    await kube.kill(first);
    await kube.start(first);
    await until(async () => (await leader()) !== first, "the other operator leads", PATIENCE_MS);
    await until(async () => (await make("later", "gateway-0")).status === 201, "one can be made again", PATIENCE_MS);
    expect((await make("later-too", "gateway-1")).status).toBe(201);
  });

  test("a Topic is changed where it was made so, and deleted", async () => {
    expect((await make("changing")).status).toBe(201);
    const path = `${TOPICS}/${NAMESPACE}.changing`;
    expect(await ask("PATCH", path, { permissions: "PRIVATE" })).toMatchObject({ status: 200 });
    expect((await getTopic(kube.api, NAMESPACE, "changing")).spec).toMatchObject({ permissions: "Private" });
    expect((await ask("DELETE", path)).status).toBe(204);
    expect(await isThere("changing")).toBe(false);
    expect((await ask("GET", path)).status).toBe(404);
  });

  test("what kubectl changes of it is seen over HTTP", async () => {
    expect((await make("both")).status).toBe(201);
    stored(await patchTopic(kube.api, [NAMESPACE, "both"], { spec: { permissions: "SubscribeOnly" } }));
    const isSeen = async (): Promise<boolean> =>
      (await ask("GET", `${TOPICS}/${NAMESPACE}.both`)).json["permissions"] === "SUBSCRIBE_ONLY";
    await until(isSeen, "the change is seen", PATIENCE_MS);
  });

  test("a Topic of kubectl is not to be had, nor changed", async () => {
    await makeTopic(kube.api, NAMESPACE, "ours", { permissions: "Public", owner: "alice" });
    const path = `${TOPICS}/${NAMESPACE}.ours`;
    await until(async () => (await ask("GET", path)).status === 200, "the Topic is known", PATIENCE_MS);
    expect(await make("ours")).toMatchObject({ status: 409, json: { code: "topic_exists" } });
    const changed = await ask("PATCH", path, { permissions: "PRIVATE" });
    expect(changed).toMatchObject({ status: 403, json: { code: "forbidden" } });
    expect((await ask("DELETE", path)).status).toBe(403);
    expect(await isThere("ours")).toBe(true);
  });

  test("the namespace's own quota is told", async () => {
    const count = "count/topics.earshot.dev";
    const quota = {
      apiVersion: "v1",
      kind: "ResourceQuota",
      metadata: { name: "few", namespace: NAMESPACE },
      spec: { hard: { [count]: "1" } },
      status: { hard: { [count]: "1" }, used: { [count]: "1" } },
    };
    const path = `/api/v1/namespaces/${NAMESPACE}/resourcequotas`;
    expect((await kube.api.call("POST", path, quota)).status).toBe(201);
    // The quota controller would count; here it is said by hand.
    expect((await kube.api.call("PUT", `${path}/few/status`, quota)).status).toBe(200);
    const refused = async (): Promise<boolean> => {
      const answer = await make(`quota-${Date.now()}`);
      return answer.status === 403 && answer.json["code"] === "quota_exceeded";
    };
    await until(refused, "the quota is told", PATIENCE_MS);
    expect((await kube.api.call("DELETE", `${path}/few`)).status).toBe(200);
  });

  test("nothing can be made while the API server is away, and it can be when it is back", async () => {
    kube.server.signal("SIGSTOP");
    const refused = await make("while-away");
    expect(refused).toMatchObject({ status: 503, json: { code: "control_plane_unavailable" } });
    expect((await ask("GET", `${TOPICS}/${NAMESPACE}.both`)).status).toBe(200);
    kube.server.signal("SIGCONT");
    const isMade = async (): Promise<boolean> => (await make("when-back")).status === 201;
    await until(isMade, "a Topic can be made again", PATIENCE_MS);
  });
});
