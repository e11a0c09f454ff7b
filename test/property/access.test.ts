import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Action, may, refusal } from "#core/domain/access.ts";
import { ANONYMOUS, type Principal } from "#core/domain/principal.ts";
import { type Permissions, POLICY_DEFAULTS, type Subject, type Topic, type TopicPolicy } from "#core/domain/topic.ts";
import { parseTopicId, type TopicId } from "#core/domain/topic-id.ts";
import { serviceAccount, user } from "../harness/principals.ts";

const OPEN = { anonymousAccess: true };
const CLOSED = { anonymousAccess: false };

function topicOf(policy: Partial<TopicPolicy>, httpManaged = false): Topic {
  const whole = { ...POLICY_DEFAULTS, channels: "Dynamic" as const, ...policy };
  return { key: "shop.chat", namespace: "shop", name: "chat", createdAtMs: 0, policy: whole, httpManaged };
}

function idOf(id: string): TopicId {
  const parsed = parseTopicId(id);
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.value;
}

const CHAT = idOf("shop.chat");

describe("the matrix: who may publish and subscribe", () => {
  const subjects = {
    publishers: [{ kind: "User", name: "pat" }],
    subscribers: [{ kind: "User", name: "sue" }],
    owner: "olga",
  } satisfies Partial<TopicPolicy>;
  // Columns: publish, subscribe.
  const matrix: Record<Permissions, Record<string, readonly [boolean, boolean]>> = {
    Public: {
      anonymous: [true, true],
      stranger: [true, true],
      pat: [true, true],
      sue: [true, true],
      olga: [true, true],
    },
    Private: {
      anonymous: [false, false],
      stranger: [false, false],
      pat: [true, false],
      sue: [false, true],
      olga: [true, true],
    },
    PublishOnly: {
      anonymous: [true, false],
      stranger: [true, false],
      pat: [true, false],
      sue: [true, true],
      olga: [true, true],
    },
    SubscribeOnly: {
      anonymous: [false, true],
      stranger: [false, true],
      pat: [true, true],
      sue: [false, true],
      olga: [true, true],
    },
  };
  for (const [permissions, rows] of Object.entries(matrix)) {
    for (const [who, [publish, subscribe]] of Object.entries(rows)) {
      test(`${permissions}: ${who} ${publish ? "may" : "may not"} publish and ${subscribe ? "may" : "may not"} subscribe`, () => {
        const principal = who === "anonymous" ? ANONYMOUS : user(who);
        const topic = topicOf({ ...subjects, permissions: permissions as Permissions });
        for (const id of [CHAT, idOf("shop.chat:room-1")]) {
          expect(may("publish", principal, topic, id, OPEN)).toBe(publish);
          expect(may("subscribe", principal, topic, id, OPEN)).toBe(subscribe);
        }
      });
    }
  }
});

describe("subjects", () => {
  const lets = (subject: Subject, principal: Principal, id: TopicId = CHAT): boolean =>
    may("publish", principal, topicOf({ publishers: [subject] }), id, OPEN);

  test("a user is named by the whole id", () => {
    expect(lets({ kind: "User", name: "alice" }, user("alice"))).toBe(true);
    expect(lets({ kind: "User", name: "alice" }, user("Alice"))).toBe(false);
    expect(lets({ kind: "User", name: "system:serviceaccount:shop:web" }, serviceAccount("shop", "web"))).toBe(false);
  });

  test("a group is named by any of a principal's groups", () => {
    expect(lets({ kind: "Group", name: "staff" }, user("alice", { groups: ["a", "staff"] }))).toBe(true);
    expect(lets({ kind: "Group", name: "staff" }, user("staff"))).toBe(false);
  });

  test("a ServiceAccount is named by namespace and name together", () => {
    const web = { kind: "ServiceAccount", namespace: "shop", name: "web" } as const;
    expect(lets(web, serviceAccount("shop", "web"))).toBe(true);
    expect(lets(web, serviceAccount("other", "web"))).toBe(false);
    expect(lets(web, user("web"))).toBe(false);
  });

  test("a ChannelUser is the user whose id is the channel, and there is none without a channel", () => {
    expect(lets({ kind: "ChannelUser" }, user("alice"), idOf("shop.chat:alice"))).toBe(true);
    expect(lets({ kind: "ChannelUser" }, user("bob"), idOf("shop.chat:alice"))).toBe(false);
    expect(lets({ kind: "ChannelUser" }, user("alice"))).toBe(false);
  });

  test("nobody anonymous is any subject", () => {
    for (const subject of [{ kind: "User", name: "anonymous" }, { kind: "ChannelUser" }] as const) {
      expect(lets(subject, ANONYMOUS, idOf("shop.chat:anonymous"))).toBe(false);
    }
  });
});

describe("capabilities", () => {
  test("they add to what the Topic grants, each to its own action", () => {
    const principal = user("alice", { capabilities: { publish: ["shop.chat:room-*"] } });
    const topic = topicOf({});
    expect(may("publish", principal, topic, idOf("shop.chat:room-1"), OPEN)).toBe(true);
    expect(may("publish", principal, topic, CHAT, OPEN)).toBe(false);
    expect(may("subscribe", principal, topic, idOf("shop.chat:room-1"), OPEN)).toBe(false);
  });

  test("an issuer's namespaces bound whatever else would grant", () => {
    const topic = topicOf({ permissions: "Public", owner: "alice" });
    const traits = { capabilities: { publish: ["*"], subscribe: ["*"], manage: ["*"] } };
    for (const action of ["publish", "subscribe", "manage"] as const) {
      expect(may(action, user("alice", { ...traits, namespaces: ["shop"] }), topic, CHAT, OPEN)).toBe(true);
      expect(may(action, user("alice", { ...traits, namespaces: ["other"] }), topic, CHAT, OPEN)).toBe(false);
    }
  });
});

describe("managing", () => {
  test("the owner and a capability may; subjects and strangers may not", () => {
    const topic = topicOf({ permissions: "Public", owner: "olga", publishers: [{ kind: "User", name: "pat" }] }, true);
    expect(may("manage", user("olga"), topic, CHAT, OPEN)).toBe(true);
    expect(may("manage", user("m", { capabilities: { manage: ["shop.*"] } }), topic, CHAT, OPEN)).toBe(true);
    expect(may("manage", user("pat"), topic, CHAT, OPEN)).toBe(false);
    expect(may("manage", ANONYMOUS, topic, CHAT, OPEN)).toBe(false);
  });

  test("an ownerless Topic made over HTTP is anyone's, an ownerless manifest nobody's", () => {
    expect(may("manage", ANONYMOUS, topicOf({}, true), CHAT, OPEN)).toBe(true);
    expect(may("manage", user("alice"), topicOf({}, true), CHAT, OPEN)).toBe(true);
    expect(may("manage", ANONYMOUS, topicOf({}, true), CHAT, CLOSED)).toBe(false);
    expect(may("manage", user("alice"), topicOf({}), CHAT, OPEN)).toBe(false);
  });
});

describe("the verdict", () => {
  test("who may do nothing at all cannot tell a topic from one that is not there", () => {
    expect(refusal("publish", user("eve"), topicOf({}), CHAT, OPEN)).toBe("topic_not_found");
    expect(refusal("publish", ANONYMOUS, topicOf({ permissions: "Public" }), CHAT, CLOSED)).toBe("topic_not_found");
    expect(refusal("publish", user("eve"), undefined, CHAT, OPEN)).toBe("topic_not_found");
  });

  test("who sees a topic but lacks the right is told so, and asked for a token where none came", () => {
    const topic = topicOf({ permissions: "SubscribeOnly" });
    expect(refusal("publish", user("eve"), topic, CHAT, OPEN)).toBe("forbidden");
    expect(refusal("publish", ANONYMOUS, topic, CHAT, OPEN)).toBe("unauthenticated");
    expect(refusal("subscribe", ANONYMOUS, topic, CHAT, OPEN)).toBeUndefined();
  });

  test("it is nothing exactly when the action is allowed, and never names a topic to who may not see it", () => {
    const principals = fc.constantFrom<Principal>(
      ANONYMOUS,
      user("alice"),
      user("bob", { groups: ["staff"] }),
      user("carol", { capabilities: { subscribe: ["shop.*"] } }),
      user("dave", { namespaces: ["other"] }),
      serviceAccount("shop", "web"),
    );
    const subjects = fc.subarray<Subject>([
      { kind: "User", name: "alice" },
      { kind: "Group", name: "staff" },
      { kind: "ServiceAccount", namespace: "shop", name: "web" },
      { kind: "ChannelUser" },
    ]);
    const topics = fc
      .record({
        permissions: fc.constantFrom<Permissions>("Public", "Private", "PublishOnly", "SubscribeOnly"),
        publishers: subjects,
        subscribers: subjects,
        owner: fc.constantFrom(undefined, "alice", "bob"),
        httpManaged: fc.boolean(),
      })
      .map(({ httpManaged, ...policy }) => topicOf(policy, httpManaged));
    const ids = fc.constantFrom("shop.chat", "shop.chat:alice", "shop.chat:room").map(idOf);
    const actions = ["publish", "subscribe", "manage"] as const satisfies readonly Action[];
    fc.assert(
      fc.property(principals, topics, ids, fc.boolean(), (principal, topic, id, anonymousAccess) => {
        const allowed = actions.map((action) => may(action, principal, topic, id, { anonymousAccess }));
        for (const [index, action] of actions.entries()) {
          const code = refusal(action, principal, topic, id, { anonymousAccess });
          expect(code === undefined).toBe(allowed[index]);
          if (!allowed.includes(true)) expect(code).toBe("topic_not_found");
          else if (code !== undefined)
            expect(code).toBe(principal.kind === "anonymous" ? "unauthenticated" : "forbidden");
        }
      }),
    );
  });
});
