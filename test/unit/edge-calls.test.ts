import { describe, expect, test } from "vitest";
import { ANONYMOUS, type Principal } from "#core/domain/principal.ts";
import { SUBJECTS_MAX } from "#core/domain/limits.ts";
import type { Edge, PublishInput, TopicFields } from "#core/edge/edge.ts";
import { TOPIC_PAGE_MAX } from "#core/edge/topic-calls.ts";
import { callerOf, testEdge } from "../harness/edge-stand-ins.ts";
import { user } from "../harness/principals.ts";

const ALICE = user("alice");

function json(text: string, more: Partial<PublishInput> = {}): PublishInput {
  return {
    topicId: "shop.chat",
    content: { kind: "json", text },
    priority: undefined,
    receipt: "router",
    excludeConnectionId: "",
    ...more,
  };
}

function fieldsOf(fields: Partial<TopicFields> = {}): TopicFields {
  return {
    permissions: undefined,
    channels: undefined,
    presence: undefined,
    publishers: undefined,
    subscribers: undefined,
    ...fields,
  };
}

/** The code of what an action throws, now or later. */
async function codeOf(action: () => unknown): Promise<string> {
  try {
    await action();
    return "none";
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

describe("authorizing", () => {
  test("a Topic, and a channel where its Topic has channels, is found with its parts", () => {
    const { edge, fleet } = testEdge();
    const topic = fleet.add("shop.chat", { permissions: "Public", channels: "Dynamic" });
    const granted = edge.authorize("publish", ALICE, "shop.chat:room-1");
    expect(granted.topic).toBe(topic);
    expect(granted.topicId).toMatchObject({ id: "shop.chat:room-1", topic: "shop.chat", channel: "room-1" });
  });

  test("a channel of a Topic without channels is not there", async () => {
    const { edge, fleet } = testEdge();
    fleet.add("shop.chat", { permissions: "Public" });
    expect(await codeOf(() => edge.authorize("publish", ALICE, "shop.chat:room-1"))).toBe("topic_not_found");
    expect(await codeOf(() => edge.authorize("publish", ALICE, "shop.chat"))).toBe("none");
  });

  test("what is no topic id says so before anything is looked up", async () => {
    const { edge } = testEdge();
    for (const id of ["", "chat", "shop.", "shop.chat:", "../etc", "shop.chat:a/b"]) {
      expect(await codeOf(() => edge.authorize("publish", ALICE, id)), id).toBe("topic_id_invalid");
    }
  });

  test("a topic that is not there and one that may not be seen answer in the same words", async () => {
    const { edge, fleet } = testEdge();
    fleet.add("shop.secret", {});
    const answer = (id: string): string => {
      try {
        edge.authorize("subscribe", ALICE, id);
        return "granted";
      } catch (error) {
        return `${(error as { code: string }).code}: ${(error as Error).message}`;
      }
    };
    expect(answer("shop.secret")).toBe(answer("shop.nothing"));
    expect(answer("shop.secret")).toContain("topic_not_found");
  });

  test("without anonymous access nobody anonymous gets anywhere", async () => {
    const { edge, fleet } = testEdge({ anonymous: false });
    fleet.add("shop.chat", { permissions: "Public" });
    expect(await codeOf(() => edge.authorize("subscribe", ANONYMOUS, "shop.chat"))).toBe("topic_not_found");
    expect(await codeOf(() => edge.authorize("subscribe", ALICE, "shop.chat"))).toBe("none");
  });

  test("no token is the anonymous principal", async () => {
    const { edge } = testEdge();
    expect(await edge.authenticate(undefined)).toEqual({ kind: "anonymous" });
    expect(await codeOf(() => edge.authenticate(""))).toBe("unauthenticated");
  });
});

describe("publishing", () => {
  test("a message reaches the placer with its publisher, its bytes and what was asked", async () => {
    const { edge, fleet, placer } = testEdge();
    fleet.add("shop.chat", { permissions: "Public" });
    const input = json(' {"b":1,\n"a":12345678901234567890} ', {
      priority: "Low",
      receipt: "gateway",
      excludeConnectionId: "g1-7",
    });
    expect(await edge.publish(callerOf(ALICE, "10.0.0.1", "g1-1"), input)).toMatchObject({ deliveredTo: 3 });
    expect(placer.orders).toMatchObject([
      {
        kind: "message",
        topicId: "shop.chat",
        binary: false,
        publisherId: "alice",
        priority: "Low",
        receipt: "gateway",
        originConnectionId: "g1-1",
        excludeConnectionId: "g1-7",
      },
    ]);
    expect(placer.payloads).toEqual(['{"b":1, "a":12345678901234567890}']);
  });

  test("an anonymous publisher is named by its connection", async () => {
    const { edge, fleet, placer } = testEdge();
    fleet.add("shop.chat", { permissions: "Public" });
    await edge.publish(callerOf(ANONYMOUS, "10.0.0.1", "g1-1"), json("1"));
    expect(placer.orders).toMatchObject([{ publisherId: "anonymous:g1-1" }]);
  });

  test("a payload is taken at its Topic's size and refused one byte past it, counted in bytes", async () => {
    const { edge, fleet, placer } = testEdge();
    fleet.add("shop.chat", { permissions: "Public", maxMessageBytes: 10 });
    const caller = callerOf(ALICE);
    const binary = (size: number) => json("", { content: { kind: "binary", bytes: new Uint8Array(size) } });
    expect(await codeOf(() => edge.publish(caller, json('"éééé"')))).toBe("none");
    expect(await codeOf(() => edge.publish(caller, json('"éééé."')))).toBe("message_too_large");
    expect(await codeOf(() => edge.publish(caller, json(`   "12345678"\n\n`)))).toBe("none");
    expect(await codeOf(() => edge.publish(caller, binary(10)))).toBe("none");
    expect(await codeOf(() => edge.publish(caller, binary(11)))).toBe("message_too_large");
    expect(await codeOf(() => edge.publish(caller, json("1".repeat(2_000_000))))).toBe("message_too_large");
    expect(placer.orders).toHaveLength(3);
  });

  test("a payload that is not JSON, or nested too deep, is refused by name", async () => {
    const { edge, fleet, placer } = testEdge();
    fleet.add("shop.chat", { permissions: "Public" });
    for (const text of ["", "{", "hello", "1 2", "[".repeat(129) + "]".repeat(129)]) {
      expect(await codeOf(() => edge.publish(callerOf(ALICE), json(text)))).toBe("invalid_request");
    }
    expect(placer.orders).toEqual([]);
  });

  test("who may not publish reaches no placer", async () => {
    const { edge, fleet, placer } = testEdge();
    fleet.add("shop.chat", { permissions: "SubscribeOnly" });
    expect(await codeOf(() => edge.publish(callerOf(ALICE), json("1")))).toBe("forbidden");
    expect(await codeOf(() => edge.publish(callerOf(ANONYMOUS), json("1")))).toBe("unauthenticated");
    expect(placer.orders).toEqual([]);
  });

  test("messages reach the placer in the order of the calls, however large they are", async () => {
    const { edge, fleet, placer } = testEdge();
    fleet.add("shop.chat", { permissions: "Public" });
    const texts = Array.from({ length: 20 }, (_, index) => JSON.stringify([index, "x".repeat((index % 3) * 5_000)]));
    await Promise.all(texts.map((text) => edge.publish(callerOf(ALICE), json(text))));
    expect(placer.payloads).toEqual(texts);
  });

  test("a connection id to exclude has its longest and no more", async () => {
    const { edge, fleet } = testEdge();
    fleet.add("shop.chat", { permissions: "Public" });
    const publish = (length: number) =>
      codeOf(() => edge.publish(callerOf(ALICE), json("1", { excludeConnectionId: "x".repeat(length) })));
    expect(await publish(64)).toBe("none");
    expect(await publish(65)).toBe("invalid_request");
  });
});

describe("rate limits", () => {
  async function admitted(edge: Edge, principal: Principal, address: string): Promise<string> {
    return await codeOf(() => edge.admitCall(callerOf(principal, address)));
  }

  test("a principal has twice its calls a second at once, on whatever address, and no more", async () => {
    const { edge, clock } = testEdge({ requestsPerSecondPerPrincipal: 2 });
    for (let index = 0; index < 4; index++) expect(await admitted(edge, ALICE, `10.0.0.${index}`)).toBe("none");
    expect(await admitted(edge, ALICE, "10.0.0.9")).toBe("rate_limited");
    expect(await admitted(edge, user("bob"), "10.0.0.9")).toBe("none");
    clock.advance(500);
    expect(await admitted(edge, ALICE, "10.0.0.9")).toBe("none");
    expect(await admitted(edge, ALICE, "10.0.0.9")).toBe("rate_limited");
  });

  test("an address has its calls, whoever makes them; another has its own", async () => {
    const { edge } = testEdge({ requestsPerSecondPerAddress: 1 });
    expect(await admitted(edge, ANONYMOUS, "10.0.0.1")).toBe("none");
    expect(await admitted(edge, ALICE, "10.0.0.1")).toBe("none");
    expect(await admitted(edge, user("bob"), "10.0.0.1")).toBe("rate_limited");
    expect(await admitted(edge, ANONYMOUS, "10.0.0.2")).toBe("none");
  });
});

describe("making Topics", () => {
  test("a Topic is made in the installation's namespace, its maker owns it, and what was not said is the default", async () => {
    const { edge, fleet } = testEdge();
    const fields = fieldsOf({ permissions: "PublishOnly", subscribers: [{ kind: "Group", name: "staff" }] });
    const { topic, ready } = await edge.topics.create(callerOf(ALICE), undefined, "orders", fields);
    expect({ ...topic, createdAtMs: 0 }).toEqual({
      topicId: "default.orders",
      name: "orders",
      ownerId: "alice",
      createdAtMs: 0,
      permissions: "PublishOnly",
      channels: "None",
      presence: "Count",
      subscriberCount: 0,
    });
    expect(ready).toBe(true);
    expect(fleet.topic("default.orders")).toMatchObject({
      httpManaged: true,
      policy: { owner: "alice", subscribers: [{ kind: "Group", name: "staff" }], maxMessageBytes: 65_536 },
    });
  });

  test("a Topic made anonymously has no owner", async () => {
    const { edge } = testEdge();
    const { topic } = await edge.topics.create(callerOf(ANONYMOUS), "default", "orders", fieldsOf());
    expect(topic.ownerId).toBeUndefined();
  });

  test("other namespaces, names that are none, and names that are taken are refused, each with its code", async () => {
    const { edge, fleet } = testEdge();
    fleet.add("default.taken");
    const make = (namespace: string | undefined, name: string) =>
      codeOf(() => edge.topics.create(callerOf(ALICE), namespace, name, fieldsOf()));
    expect(await make("shop", "orders")).toBe("namespace_not_served");
    expect(await make("Shop", "orders")).toBe("topic_name_invalid");
    for (const name of ["", "Orders", "a:b", "a/b", "-a", "a".repeat(190)]) {
      expect(await make(undefined, name), name).toBe("topic_name_invalid");
    }
    expect(await make(undefined, "a".repeat(189))).toBe("none");
    expect(await make(undefined, "taken")).toBe("topic_exists");
  });

  test("an installation that names no namespace makes none", async () => {
    const { edge } = testEdge({ httpTopicsNamespace: "" });
    const make = () => edge.topics.create(callerOf(ALICE), undefined, "orders", fieldsOf());
    expect(await codeOf(make)).toBe("namespace_not_served");
  });

  test("who may make one is the installation's choice", async () => {
    const manager = user("m", { capabilities: { manage: ["default.ord*"] } });
    const elsewhere = user("e", { namespaces: ["shop"], capabilities: { manage: ["*"] } });
    const expected = {
      Manage: { anonymous: "unauthenticated", alice: "forbidden", m: "none", e: "forbidden" },
      Authenticated: { anonymous: "unauthenticated", alice: "none", m: "none", e: "forbidden" },
      Anyone: { anonymous: "none", alice: "none", m: "none", e: "forbidden" },
    } as const;
    for (const [httpTopicsCreate, codes] of Object.entries(expected)) {
      const { edge, fleet } = testEdge({ httpTopicsCreate: httpTopicsCreate as keyof typeof expected });
      const callers = { anonymous: ANONYMOUS, alice: ALICE, m: manager, e: elsewhere };
      for (const [who, code] of Object.entries(codes)) {
        const caller = callerOf(callers[who as keyof typeof callers]);
        const got = await codeOf(() => edge.topics.create(caller, undefined, "orders", fieldsOf()));
        expect(got, `${httpTopicsCreate} ${who}`).toBe(code);
        fleet.remove("default.orders");
      }
    }
    const { edge } = testEdge({ anonymous: false });
    const make = () => edge.topics.create(callerOf(ANONYMOUS), undefined, "orders", fieldsOf());
    expect(await codeOf(make)).toBe("unauthenticated");
  });

  test("subjects are taken at their limit and refused one past it", async () => {
    const { edge } = testEdge();
    const subjects = (count: number) => Array.from({ length: count }, () => ({ kind: "ChannelUser" }) as const);
    const make = (name: string, count: number) =>
      codeOf(() => edge.topics.create(callerOf(ALICE), undefined, name, fieldsOf({ publishers: subjects(count) })));
    expect(await make("a", SUBJECTS_MAX)).toBe("none");
    expect(await make("b", SUBJECTS_MAX + 1)).toBe("invalid_request");
  });

  test("a subject that the CRD would not take is refused with the field's name, before any operator is asked", async () => {
    const { edge, fleet } = testEdge();
    fleet.operatorConnected = false;
    for (const [subject, field] of [
      [{ kind: "User", name: "x".repeat(257) }, "publishers[1].name"],
      [{ kind: "ServiceAccount", namespace: "Shop", name: "checkout" }, "publishers[1].namespace"],
    ] as const) {
      const publishers = [{ kind: "Group", name: "\u{1f426}".repeat(256) }, subject] as const;
      const made = edge.topics.create(callerOf(ALICE), undefined, "a", fieldsOf({ publishers }));
      await expect(made).rejects.toMatchObject({ code: "invalid_request", field });
    }
  });

  test("what the operator refuses comes back with its code and words; without an operator it is unavailable", async () => {
    const { edge, fleet } = testEdge();
    const make = () => edge.topics.create(callerOf(ALICE), undefined, "orders", fieldsOf());
    fleet.refuse = { code: "quota_exceeded", message: "no more than 10" };
    await expect(make()).rejects.toMatchObject({ code: "quota_exceeded", message: "no more than 10" });
    fleet.refuse = { code: "something_new", message: "" };
    expect(await codeOf(make)).toBe("control_plane_unavailable");
    fleet.refuse = undefined;
    fleet.operatorConnected = false;
    expect(await codeOf(make)).toBe("control_plane_unavailable");
  });
});

describe("changing and ending Topics", () => {
  test("a change touches what it names and leaves the rest", async () => {
    const { edge, fleet, placer } = testEdge();
    placer.counts = () => 7;
    fleet.add("default.orders", { owner: "alice", channels: "Dynamic", maxMessageBytes: 99 }, true);
    const { topic } = await edge.topics.update(callerOf(ALICE), "default.orders", fieldsOf({ permissions: "Public" }));
    expect(topic).toMatchObject({ permissions: "Public", channels: "Dynamic", ownerId: "alice", subscriberCount: 7 });
    expect(fleet.topic("default.orders")?.policy).toMatchObject({ permissions: "Public", maxMessageBytes: 99 });
    expect(fleet.lastMutation?.updateMask?.paths).toEqual(["permissions"]);
  });

  test("owner and manager may change and end it, others may not, and whoever sees nothing learns nothing", async () => {
    const { edge, fleet } = testEdge();
    const policy = { owner: "alice", permissions: "SubscribeOnly" } as const;
    const manager = user("m", { capabilities: { manage: ["default.*"] } });
    for (const [who, id, code] of [
      [ALICE, "default.a", "none"],
      [manager, "default.a", "none"],
      [user("bob"), "default.a", "forbidden"],
      [ANONYMOUS, "default.a", "unauthenticated"],
      [user("bob"), "default.private", "topic_not_found"],
      [user("bob"), "default.nothing", "topic_not_found"],
    ] as const) {
      fleet.add("default.a", policy, true);
      fleet.add("default.private", { owner: "alice" }, true);
      expect(await codeOf(() => edge.topics.update(callerOf(who), id, fieldsOf()))).toBe(code);
      expect(await codeOf(() => edge.topics.delete(callerOf(who), id))).toBe(code);
    }
  });

  test("an ownerless one is anyone's", async () => {
    const { edge, fleet } = testEdge();
    fleet.add("default.a", {}, true);
    expect(await codeOf(() => edge.topics.delete(callerOf(ANONYMOUS), "default.a"))).toBe("none");
    expect(fleet.topic("default.a")).toBeUndefined();
  });

  test("a manifest is changed by nobody here, and a channel has nothing to change", async () => {
    const { edge, fleet } = testEdge();
    fleet.add("default.a", { owner: "alice", channels: "Dynamic" });
    fleet.add("default.b", { owner: "alice", channels: "Dynamic" }, true);
    expect(await codeOf(() => edge.topics.delete(callerOf(ALICE), "default.a"))).toBe("forbidden");
    expect(await codeOf(() => edge.topics.delete(callerOf(ALICE), "default.b:room"))).toBe("topic_id_invalid");
    expect(fleet.topics.size).toBe(2);
  });
});

describe("showing Topics", () => {
  test("one that the caller may see is shown with its subscriptions, or without where nobody could be asked", async () => {
    const { edge, fleet, placer } = testEdge();
    fleet.add("shop.chat", { permissions: "Public", channels: "Dynamic", presence: "Members" });
    placer.counts = (id) => (id === "shop.chat:42" ? 5 : undefined);
    expect(await edge.topics.get(callerOf(ALICE), "shop.chat:42")).toMatchObject({
      topicId: "shop.chat:42",
      name: "chat",
      subscriberCount: 5,
      presence: "Members",
    });
    expect((await edge.topics.get(callerOf(ALICE), "shop.chat")).subscriberCount).toBeUndefined();
  });

  test("one that it may not see is not there", async () => {
    const { edge, fleet } = testEdge();
    fleet.add("shop.secret", { owner: "bob" });
    expect(await codeOf(() => edge.topics.get(callerOf(ALICE), "shop.secret"))).toBe("topic_not_found");
    expect(await codeOf(() => edge.topics.get(callerOf(user("bob")), "shop.secret"))).toBe("none");
  });

  test("the list holds every Topic the caller may see, once, in order, page by page", async () => {
    const { edge, fleet } = testEdge();
    const keys = Array.from({ length: 25 }, (_, index) => `shop.t${String(index).padStart(2, "0")}`);
    for (const key of keys.toReversed()) fleet.add(key, { permissions: "Public" });
    fleet.add("shop.secret");
    const seen: string[] = [];
    let cursor: string | undefined;
    let pages = 0;
    do {
      const page = await edge.topics.list(callerOf(ALICE), 10, cursor);
      seen.push(...page.topics.map((topic) => topic.topicId));
      cursor = page.nextCursor;
      pages += 1;
    } while (cursor !== undefined);
    expect(seen).toEqual(keys);
    expect(pages).toBe(3);
  });

  test("Topics that come and go between pages make no other Topic skipped or doubled", async () => {
    const { edge, fleet } = testEdge();
    for (const name of ["b", "d", "f", "h"]) fleet.add(`shop.${name}`, { permissions: "Public" });
    const first = await edge.topics.list(callerOf(ALICE), 2, undefined);
    fleet.add("shop.a", { permissions: "Public" });
    fleet.add("shop.e", { permissions: "Public" });
    fleet.remove("shop.d");
    const second = await edge.topics.list(callerOf(ALICE), 10, first.nextCursor);
    expect(second.topics.map((topic) => topic.name)).toEqual(["e", "f", "h"]);
    expect(second.nextCursor).toBeUndefined();
  });

  test("a page that ends with the last Topic has no next one", async () => {
    const { edge, fleet } = testEdge();
    for (const name of ["a", "b"]) fleet.add(`shop.${name}`, { permissions: "Public" });
    expect((await edge.topics.list(callerOf(ALICE), 2, undefined)).nextCursor).toBeUndefined();
    expect((await edge.topics.list(callerOf(ALICE), 1, undefined)).nextCursor).toBeDefined();
  });

  test("limits and cursors that are none are refused", async () => {
    const { edge } = testEdge();
    for (const limit of [0, TOPIC_PAGE_MAX + 1, 1.5]) {
      expect(await codeOf(() => edge.topics.list(callerOf(ALICE), limit, undefined))).toBe("invalid_request");
    }
    for (const cursor of ["", "x", "%%%", "a".repeat(10_000)]) {
      expect(await codeOf(() => edge.topics.list(callerOf(ALICE), 10, cursor))).toBe("invalid_request");
    }
  });

  test("other work gets its turn fifty times while a caller may see none of 100,000 Topics", async () => {
    const { edge, fleet } = testEdge();
    for (let index = 0; index < 100_000; index++) fleet.add(`shop.t${index}`);
    await edge.topics.list(callerOf(ALICE), 10, undefined);
    let turns = 0;
    let listing = true;
    const turn = (): void => {
      turns += 1;
      if (listing) setImmediate(turn);
    };
    setImmediate(turn);
    const page = await edge.topics.list(callerOf(ALICE), 10, undefined);
    listing = false;
    expect(page).toEqual({ topics: [], nextCursor: undefined });
    expect(turns).toBeGreaterThan(40);
  });
});
