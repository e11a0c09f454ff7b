// Presence through real gateways, routers and the presence process, as those who watch a topic see it.

import { afterAll, beforeAll, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { call } from "../harness/http.ts";
import { listedAt, Watcher } from "../harness/presence-watcher.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, type WebSocketClient } from "../harness/websocket.ts";

const TOPIC = `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: shop, name: chat}
spec: {permissions: Public, channels: Dynamic, presence: Members}
`;

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await startFleet({ topics: [TOPIC] });
});
afterAll(() => fleet.close());

function enter(gateway: string, topic: string, user: string, query = ""): Promise<WebSocketClient> {
  return openWebSocket(fleet.ws(gateway), { topics: [topic], token: signToken({ sub: user }), query });
}

function listed(gateway: string, topic: string): Promise<string> {
  return listedAt(fleet.http(gateway), topic);
}

test("many who come within a second are one frame", async () => {
  const topic = "shop.chat:crowd";
  const watcher = await enter("gateway-0", topic, "watcher", "presence=true");
  const seen = new Watcher(watcher);
  const names = Array.from({ length: 20 }, (_, index) => `u${index}`);
  const crowd = await Promise.all(names.map((user, index) => enter(`gateway-${index % 2}`, topic, user)));
  await until(() => seen.users.size === 21, "the whole crowd is seen");
  expect(seen.count).toBe(21);
  expect(seen.frames).toBeLessThan(6);
  await Promise.all(crowd.map((client) => client.close()));
  await until(() => seen.seen === "1: watcher", "the whole crowd is gone");
  await watcher.close();
});

test("a token that comes later makes a nameless member somebody", async () => {
  const topic = "shop.chat:named";
  const watcher = new Watcher(await enter("gateway-0", topic, "watcher", "presence=true"));
  const client = await openWebSocket(fleet.ws("gateway-1"), { topics: [topic] });
  const { user_id: nameless } = await client.frames.next({ type: "welcome" });
  expect(nameless).toMatch(/^anonymous:/);
  await until(() => watcher.users.has(String(nameless)), "the nameless one is seen");
  client.send({ type: "token", token: signToken({ sub: "alice" }) });
  await until(() => watcher.seen === "2: alice,watcher", "alice is seen in its place");
  await client.close();
  await until(() => watcher.seen === "1: watcher", "alice is gone");
});

test("users of a gateway that was killed are gone when its lease is, those who are elsewhere too stay", async () => {
  const topic = "shop.chat:killed";
  const watcher = new Watcher(await enter("gateway-0", topic, "watcher", "presence=true"));
  await enter("gateway-1", topic, "alice");
  await enter("gateway-1", topic, "bob");
  await enter("gateway-0", topic, "bob");
  await until(() => watcher.seen === "3: alice,bob,watcher", "all are seen");
  fleet.kill("gateway-1");
  await fleet.ended("gateway-1");
  await until(() => watcher.seen === "2: bob,watcher", "alice is gone, bob is not", 9_000);
  expect(await listed("gateway-0", topic)).toBe("2: bob,watcher");
  await fleet.start("gateway-1");
});

test("changes that die with their router are made good, also where nobody ever spoke", async () => {
  const topic = "shop.chat:router";
  const watcher = new Watcher(await enter("gateway-0", topic, "watcher", "presence=true"));
  const alice = await enter("gateway-1", topic, "alice");
  await until(() => watcher.seen === "2: alice,watcher", "alice is seen");
  const token = signToken({ sub: "root", earshot: { manage: ["*"] } });
  const { json } = await call(fleet.http("gateway-0"), "GET", `/api/v1/topics/${topic}/route`, { token });
  const [primary] = json["routers"] as { id: string }[];
  // The router gathers changes for a second: these are still in it when it dies.
  await alice.close();
  const bob = await enter("gateway-1", topic, "bob");
  fleet.kill(primary?.id ?? "");
  await until(() => watcher.users.has("bob") && !watcher.users.has("alice"), "what it had to tell is seen");
  expect(watcher.seen).toBe("2: bob,watcher");
  await bob.close();
  await until(() => watcher.seen === "1: watcher", "later changes go through the other router");
  await fleet.start(primary?.id ?? "");
});

test("while users come and go and the store dies twice, everybody ends up seeing who is there", {
  timeout: 60_000,
}, async () => {
  const topic = "shop.chat:churn";
  const first = await enter("gateway-0", topic, "watcher", "presence=true");
  const second = await enter("gateway-1", topic, "watcher", "presence=true");
  const watchers = [new Watcher(first), new Watcher(second)];
  const there: { user: string; client: WebSocketClient }[] = [];
  // A fixed walk: users u0 to u9, one to three tabs each, over both gateways.
  for (let step = 0; step < 120; step++) {
    if (step === 40 || step === 80) {
      fleet.kill("presence-0");
      await fleet.ended("presence-0");
    }
    if (step === 55 || step === 95) await fleet.start("presence-0");
    if (there.length > 12 || (there.length > 0 && step % 3 === 2)) {
      const [leaving] = there.splice((step * 7) % there.length, 1);
      await leaving?.client.close();
    } else {
      const user = `u${(step * 3) % 10}`;
      there.push({ user, client: await enter(`gateway-${step % 2}`, topic, user) });
    }
  }
  const users = [...new Set([...there.map(({ user }) => user), "watcher"])].sort();
  const expected = `${users.length}: ${users.join(",")}`;
  for (const gateway of ["gateway-0", "gateway-1"]) {
    await until(async () => (await listed(gateway, topic)) === expected, `${gateway} lists ${expected}`);
  }
  for (const watcher of watchers) {
    await until(() => [...watcher.users].sort().join() === users.join(), `${watcher.seen} becomes ${expected}`);
  }
  await Promise.all([...there.map(({ client }) => client), first, second].map((client) => client.close()));
});
