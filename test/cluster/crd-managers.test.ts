// Several hands on one Topic at a real API server: GitOps, a team, the operator. Who owns which field, who is told of a
// conflict, and that spec and status are two doors.

import { beforeAll, describe, expect, test } from "vitest";
import { apiServer, makeNamespace } from "../harness/kube-cluster.ts";
import { applyTopic, getTopic, makeTopic, patchTopic, stored, topicOf } from "../harness/kube-topics.ts";

const api = apiServer();
let namespace = "";

beforeAll(async () => {
  namespace = await makeNamespace(api, "managers");
});

function condition(type: string, status: string): Readonly<Record<string, unknown>> {
  return { type, status, reason: "Example", message: "An example", lastTransitionTime: "2026-01-01T00:00:00Z" };
}

const statusOf = (name: string, ...conditions: unknown[]): Readonly<Record<string, unknown>> => ({
  ...topicOf(name),
  status: { conditions },
});

describe("server-side apply", () => {
  test("lets two managers own different fields of one spec", async () => {
    const target = [namespace, "shared"] as const;
    stored(await applyTopic(api, target, topicOf("shared", { permissions: "Public" }), { manager: "gitops" }));
    const limits = topicOf("shared", { limits: { maxSubscribers: 7 } });
    stored(await applyTopic(api, target, limits, { manager: "team" }));
    const again = topicOf("shared", { permissions: "SubscribeOnly" });
    const { spec } = stored(await applyTopic(api, target, again, { manager: "gitops" }));
    expect(spec).toMatchObject({ permissions: "SubscribeOnly", limits: { maxSubscribers: 7 } });
  });

  test("tells whoever takes a field of another whose it is, and gives it by force", async () => {
    const target = [namespace, "contested"] as const;
    const [ours, theirs] = ["Public", "Private"].map((permissions) => topicOf("contested", { permissions }));
    stored(await applyTopic(api, target, ours ?? {}, { manager: "gitops" }));
    const refused = await applyTopic(api, target, theirs ?? {}, { manager: "team" });
    expect(refused).toMatchObject({
      status: 409,
      body: { message: expect.stringMatching(/conflict with "gitops": \.spec\.permissions/) },
    });
    const forced = stored(await applyTopic(api, target, theirs ?? {}, { manager: "team", query: "&force=true" }));
    expect(forced.spec).toMatchObject({ permissions: "Private" });
  });

  test("takes a list of subjects as one value", async () => {
    const target = [namespace, "subjects"] as const;
    const listing = (name: string): Readonly<Record<string, unknown>> =>
      topicOf("subjects", { publishers: [{ kind: "User", name }] });
    stored(await applyTopic(api, target, listing("alice"), { manager: "gitops" }));
    const refused = await applyTopic(api, target, listing("bob"), { manager: "team" });
    expect(refused).toMatchObject({ status: 409, body: { message: expect.stringContaining(".spec.publishers") } });
    stored(await applyTopic(api, target, listing("alice"), { manager: "team" }));
    // Both own it now: it is gone when neither says it.
    stored(await applyTopic(api, target, topicOf("subjects", {}), { manager: "gitops" }));
    expect((await getTopic(api, namespace, "subjects")).spec).toHaveProperty("publishers");
    const { spec } = stored(await applyTopic(api, target, topicOf("subjects", {}), { manager: "team" }));
    expect(spec).not.toHaveProperty("publishers");
  });

  test("lets a field that nobody says any more fall back to its default", async () => {
    const target = [namespace, "fallback"] as const;
    const said = topicOf("fallback", { permissions: "Public", delivery: { priority: "Low" } });
    stored(await applyTopic(api, target, said, { manager: "gitops" }));
    const { spec } = stored(await applyTopic(api, target, topicOf("fallback", {}), { manager: "gitops" }));
    expect(spec).toMatchObject({ permissions: "Private", delivery: { priority: "Normal" } });
  });

  test("keeps a condition of every manager, told apart by type", async () => {
    const target = [namespace, "conditions"] as const;
    await makeTopic(api, namespace, "conditions");
    const operator = { manager: "earshot-operator", subresource: "/status" };
    const other = { manager: "policy-controller", subresource: "/status" };
    const types = async (): Promise<readonly string[]> =>
      (await getTopic(api, namespace, "conditions")).status.conditions.map(({ type, status }) => `${type}=${status}`);
    // The default condition belongs to nobody: taking it is no conflict.
    const first = statusOf("conditions", condition("Ready", "True"), condition("Accepted", "True"));
    stored(await applyTopic(api, target, first, operator));
    stored(await applyTopic(api, target, statusOf("conditions", condition("Audited", "True")), other));
    expect((await types()).toSorted()).toEqual(["Accepted=True", "Audited=True", "Ready=True"]);
    stored(await applyTopic(api, target, statusOf("conditions", condition("Ready", "False")), operator));
    expect((await types()).toSorted()).toEqual(["Audited=True", "Ready=False"]);
    const taken = await applyTopic(api, target, statusOf("conditions", condition("Ready", "True")), other);
    expect(taken).toMatchObject({ status: 409, body: { message: expect.stringContaining("earshot-operator") } });
  });

  test("of spec by a user and of status by the operator never meet", async () => {
    const target = [namespace, "apart"] as const;
    const operator = { manager: "earshot-operator", subresource: "/status" };
    for (const [round, permissions] of ["Public", "Private", "Public"].entries()) {
      const spec = topicOf("apart", { permissions });
      const { metadata } = stored(await applyTopic(api, target, spec, { manager: "gitops" }));
      expect(metadata.generation).toBe(round + 1);
      stored(await applyTopic(api, target, statusOf("apart", condition("Ready", "True")), operator));
    }
    const { metadata } = await getTopic(api, namespace, "apart");
    const owners = metadata.managedFields?.map(({ manager, subresource = "" }) => `${manager}${subresource}`);
    expect(owners?.toSorted()).toEqual(["earshot-operatorstatus", "gitops"]);
  });
});

describe("spec and status", () => {
  test("a write of the one changes nothing of the other", async () => {
    const { status } = await makeTopic(api, namespace, "doors");
    const both = { spec: { permissions: "Public" }, status: { topicId: "shop.doors" } };
    const ofSpec = stored(await patchTopic(api, [namespace, "doors"], both));
    expect([ofSpec.spec["permissions"], ofSpec.status]).toEqual(["Public", status]);
    const other = { spec: { permissions: "Private" }, status: { topicId: "shop.doors" } };
    const ofStatus = stored(await patchTopic(api, [namespace, "doors"], other, "/status"));
    expect([ofStatus.spec["permissions"], ofStatus.status.topicId]).toEqual(["Public", "shop.doors"]);
  });

  test("the generation grows with the spec alone", async () => {
    const made = await makeTopic(api, namespace, "counted");
    const target = [namespace, "counted"] as const;
    const generation = async (patch: unknown, subresource = ""): Promise<number> =>
      stored(await patchTopic(api, target, patch, subresource)).metadata.generation;
    expect(made.metadata.generation).toBe(1);
    expect(await generation({ metadata: { labels: { team: "a" } } })).toBe(1);
    expect(await generation({ status: { observedGeneration: 1 } }, "/status")).toBe(1);
    expect(await generation({ spec: { permissions: "Private" } })).toBe(1);
    expect(await generation({ spec: { permissions: "Public" } })).toBe(2);
  });

  test("a write that changes nothing makes no new version", async () => {
    await makeTopic(api, namespace, "still", { permissions: "Public" });
    const target = [namespace, "still"] as const;
    const status = { status: { topicId: "shop.still" } };
    const first = stored(await patchTopic(api, target, status, "/status"));
    const second = stored(await patchTopic(api, target, status, "/status"));
    expect(second.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
  });

  test("a status keeps the name of the installation that takes charge", async () => {
    await makeTopic(api, namespace, "charge");
    const target = [namespace, "charge"] as const;
    const { status } = stored(
      await patchTopic(api, target, { status: { controllerName: "earshot-system/earshot" } }, "/status"),
    );
    expect(status.controllerName).toBe("earshot-system/earshot");
    expect(status.conditions).toMatchObject([{ type: "Ready", reason: "Pending" }]);
  });
});
