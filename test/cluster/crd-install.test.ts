// The CRDs of crds/ as a real API server takes them.

import { expect, test } from "vitest";
import { apiServer } from "../harness/kube-cluster.ts";

const api = apiServer();

test.for([
  "topics.earshot.dev",
  "shardmaps.earshot.dev",
])("%s is established, and its schema is structural", async (name) => {
  const { body } = await api.call("GET", `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`);
  const { conditions } = (body as { status: { conditions: { type: string; status: string }[] } }).status;
  const states = conditions.map(({ type, status }) => `${type}=${status}`);
  expect(states.toSorted()).toEqual(["Established=True", "NamesAccepted=True"]);
});
