// The page's "Kill a router" over HTTP, with the real supervisor behind it. Whom it is refused to, in every way, is in
// test/unit/page-routes.test.ts.

import { request } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { call } from "../harness/http.ts";
import { isAlive, type Standalone, startStandalone } from "../harness/standalone.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const PATH = "/api/v1/standalone/kill-router";
const TOPIC = "default.demo:killed";

let standalone: Standalone;
beforeAll(async () => {
  standalone = await startStandalone();
});
afterAll(() => standalone.close());

async function nonceOf(): Promise<string> {
  const { text } = await call(standalone.http, "GET", "/", { headers: { connection: "close" } });
  return /name="earshot-kill" content="([^"]*)"/.exec(text)?.[1] ?? "";
}

async function kill(headers: Record<string, string> = {}) {
  return call(standalone.http, "POST", PATH, {
    body: { topic_id: TOPIC },
    headers: { "x-earshot-kill": await nonceOf(), ...headers },
  });
}

/** With a Host of our own choice, which fetch does not let us have. */
function statusAs(host: string, nonce: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const headers = { host, "content-type": "application/json", "x-earshot-kill": nonce };
    const asked = request(`${standalone.http}${PATH}`, { method: "POST", headers }, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    asked.on("error", reject).end(JSON.stringify({ topic_id: TOPIC }));
  });
}

const routerPids = (): number[] =>
  standalone
    .peers()
    .filter(({ role, pid }) => role === "router" && isAlive(pid))
    .map(({ pid }) => pid);

test("nobody without the page's nonce, and no name but this machine's own, kills a router", async () => {
  const before = routerPids();
  expect(before).toHaveLength(2);
  expect((await kill({ "x-earshot-kill": "guessed" })).status).toBe(403);
  expect((await kill({ origin: "http://localhost:1" })).status).toBe(403);
  expect(await statusAs("rebound.example", await nonceOf())).toBe(403);
  expect(routerPids()).toEqual(before);
});

test("the router that carries the topic is killed, its subscribers hear on, and it runs again", async () => {
  const ear = await openWebSocket(standalone.ws, { topics: [TOPIC] });
  const { incarnation } = (await ear.frames.next({ type: "subscribed" })) as { incarnation?: string };
  const { status, json } = await kill();
  expect(status).toBe(200);
  const killed = standalone.peers().find(({ pid }) => pid === json["pid"]);
  expect(killed === undefined || killed.role === "router").toBe(true);
  if (typeof incarnation === "string") expect(json["incarnation"]).toBe(incarnation);
  await until(() => !isAlive(Number(json["pid"])), "it is dead");
  await until(async () => {
    const answer = await call(standalone.http, "POST", `/api/v1/topics/${TOPIC}/publish`, { body: { payload: "on" } });
    return answer.status === 200;
  }, "a publish is taken");
  await ear.frames.next({ type: "message", payload: "on" });
  await until(
    () => {
      const again = standalone.peer(String(json["name"]));
      return again !== undefined && again.pid !== json["pid"] && isAlive(again.pid);
    },
    "it runs again",
    30_000,
  );
  await ear.close();
});

test("of many that ask at once one is heard: two routers are never dead together", async () => {
  const answers = await until(
    async () => {
      const all = await Promise.all(Array.from({ length: 8 }, () => kill()));
      return all.some(({ status }) => status === 200) && all;
    },
    "the killed one stands by again, and one is killed",
    60_000,
  );
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  for (const { status } of answers) expect([200, 409, 429]).toContain(status);
  await until(() => routerPids().length === 2, "there are two again", 30_000);
});
