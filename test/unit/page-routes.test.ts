// The page's own routes, at a door without a port: what is served, and who may have a router killed.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { PeerEndpoint } from "#core/fleet/peers.ts";
import type { KillOutcome } from "#core/runtime/parent.ts";
import { KILL_PATH, routerToKill } from "../../gateway/http/page/kill-route.ts";
import { foreignness, isLocal, KILL_HEADER } from "../../gateway/http/page/local-only.ts";
import { RouterKiller } from "../../standalone/router-killer.ts";
import type { Child } from "../../standalone/child.ts";
import { type Door, openDoor } from "../harness/http-door.ts";

const NONCE = "the nonce of this start";
const HOST = "localhost:8080";

const peer = (name: string, pid: number): PeerEndpoint => ({
  name,
  role: "router",
  incarnation: `${name}-now`,
  pid,
  grpc: "127.0.0.1:1",
  probes: "127.0.0.1:2",
  node: "here",
  zone: "",
});
const owner = (name: string) => ({ incarnation: `${name}-now`, name, address: "127.0.0.1:1", node: "here", zone: "" });
const shards = Array.from({ length: 1024 }, () => [owner("router-1"), owner("router-0")]);
const map = { epoch: 1, routers: [owner("router-0"), owner("router-1")], shards };

let door: Door;
let outcome: KillOutcome;
let killed: number[];

async function open(alive = [peer("router-0", 10), peer("router-1", 11)], anonymous = true): Promise<Door> {
  const plain = await openDoor();
  await plain.close();
  const { topics, largestMessageBytes } = plain.state;
  const nothing = (): (() => void) => () => {};
  return openDoor({
    fleet: {
      topic: (key) => topics.get(key),
      topics,
      largestMessageBytes,
      map,
      members: [],
      synced: true,
      operatorConnected: true,
      onTopic: nothing,
      onMap: nothing,
      onMembers: nothing,
      mutateTopic: () => Promise.reject(new Error("nobody asks")),
    },
    config: { allowedOrigins: ["*"], trustedProxies: [], anonymous },
    peers: { list: (role) => (role === "router" ? alive : []) },
    killer: {
      nonce: NONCE,
      kill: async (pid) => {
        killed.push(pid);
        return outcome;
      },
    },
  });
}

beforeEach(async () => {
  outcome = "killed";
  killed = [];
  door = await open();
});
afterEach(() => door.close());

describe("the document", () => {
  test("is one page that loads nothing from elsewhere and lets nobody in", async () => {
    const { headers, body, statusCode } = await door.app.inject({ url: "/", headers: { host: HOST } });
    expect(statusCode).toBe(200);
    expect(headers["content-type"]).toBe("text/html; charset=utf-8");
    const policy = String(headers["content-security-policy"]);
    expect(policy).toMatch(
      /^default-src 'none'; script-src 'self' 'sha256-[\w+/=]{44}'; style-src 'self'; img-src 'self'; connect-src 'self' ws:\/\/localhost:8080 wss:\/\/localhost:8080; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'$/,
    );
    expect(headers).toMatchObject({
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
      "referrer-policy": "no-referrer",
      "cache-control": "no-cache",
    });
    expect(body).not.toMatch(/(?:src|href)="(?:https?:)?\/\//);
    expect(body).not.toMatch(/\son\w+=/);
  });

  test("can be read by no other origin, whatever the installation allows", async () => {
    for (const url of ["/", "/page/main.ts"]) {
      const { headers } = await door.app.inject({ url, headers: { host: HOST, origin: "http://evil.example" } });
      expect(headers["access-control-allow-origin"]).toBeUndefined();
      expect(headers["cross-origin-resource-policy"]).toBe("same-origin");
    }
  });

  test("holds the nonce for this machine's own browser, and for nobody else", async () => {
    const bodyFor = async (headers: Record<string, string>, remoteAddress = "127.0.0.1"): Promise<string> =>
      (await door.app.inject({ url: "/", headers, remoteAddress })).body;
    expect(await bodyFor({ host: HOST })).toContain(NONCE);
    expect(await bodyFor({ host: HOST }, "192.0.2.7")).not.toContain(NONCE);
    expect(await bodyFor({ host: "rebound.example:8080" })).not.toContain(NONCE);
    expect(await bodyFor({ host: HOST, "x-forwarded-for": "192.0.2.7" })).not.toContain(NONCE);
  });

  test("a Host that could break out of the policy is left out of it", async () => {
    const { headers } = await door.app.inject({ url: "/", headers: { host: "a; script-src *" } });
    expect(headers["content-security-policy"]).toContain("connect-src 'self';");
  });

  test("is asked for anew and answered 304 while it is the same", async () => {
    const first = await door.app.inject({ url: "/page/style.css" });
    const etag = String(first.headers.etag);
    const again = await door.app.inject({ url: "/page/style.css", headers: { "if-none-match": `"x", W/${etag}` } });
    expect(again.statusCode).toBe(304);
    expect(again.body).toBe("");
    expect((await door.app.inject({ url: "/page/style.css", headers: { "if-none-match": '"x"' } })).statusCode).toBe(
      200,
    );
  });
});

describe("its parts", () => {
  test("are JavaScript, whose every import is served too", async () => {
    const seen = new Set<string>();
    const load = async (path: string): Promise<void> => {
      if (seen.has(path)) return;
      seen.add(path);
      const { statusCode, headers, body } = await door.app.inject({ url: path });
      expect([path, statusCode, headers["content-type"]]).toEqual([path, 200, "text/javascript; charset=utf-8"]);
      expect(body).not.toMatch(/\binterface\b \w+ \{/);
      for (const [, name = ""] of body.matchAll(/from "([^"]+)"/g)) {
        await load(name.startsWith("#core/") ? `/page/core/${name.slice(6)}` : `/page/${name.slice(2)}`);
      }
    };
    await load("/page/main.ts");
    expect(seen.size).toBeGreaterThan(10);
  });

  test("are only these: no path leads out of them", async () => {
    for (const path of [
      "/page/",
      "/page/nothing.ts",
      "/page/../app.ts",
      "/page/%2e%2e/app.ts",
      "/page/tsconfig.json",
    ]) {
      expect((await door.app.inject({ url: path })).statusCode, path).toBe(404);
    }
    expect((await door.app.inject({ method: "POST", url: "/" })).statusCode).toBe(405);
    expect((await door.app.inject({ method: "HEAD", url: "/" })).statusCode).toBe(200);
  });
});

const GOOD = { host: HOST, "content-type": "application/json", [KILL_HEADER]: NONCE };

async function kill(headers: Record<string, string> = GOOD, remoteAddress = "127.0.0.1") {
  const payload = JSON.stringify({ topic_id: "default.demo:ticker" });
  const answer = await door.app.inject({ method: "POST", url: KILL_PATH, headers, payload, remoteAddress });
  return { status: answer.statusCode, headers: answer.headers, json: answer.json() as Record<string, unknown> };
}

describe("killing a router", () => {
  test("kills the one that carries the topic", async () => {
    expect(await kill()).toMatchObject({
      status: 200,
      json: { name: "router-1", incarnation: "router-1-now", pid: 11 },
    });
    expect(killed).toEqual([11]);
  });

  test.each([
    ["another machine", GOOD, "192.0.2.7"],
    ["another machine over IPv6", GOOD, "2001:db8::1"],
    ["a name that was made to point here", { ...GOOD, host: "rebound.example:8080" }, "127.0.0.1"],
    ["a name that only begins as ours", { ...GOOD, host: "localhost.evil.example" }, "127.0.0.1"],
    ["a proxy", { ...GOOD, "x-forwarded-for": "192.0.2.7" }, "127.0.0.1"],
    ["another site's page", { ...GOOD, origin: "http://evil.example" }, "127.0.0.1"],
    ["a page of another port", { ...GOOD, origin: "http://localhost:3000" }, "127.0.0.1"],
    ["a page without an origin", { ...GOOD, origin: "null" }, "127.0.0.1"],
    ["what a browser calls cross-site", { ...GOOD, "sec-fetch-site": "cross-site" }, "127.0.0.1"],
    ["what a browser calls same-site", { ...GOOD, "sec-fetch-site": "same-site" }, "127.0.0.1"],
    ["a form", { ...GOOD, "content-type": "text/plain" }, "127.0.0.1"],
    ["whoever has no nonce", { host: HOST, "content-type": "application/json" }, "127.0.0.1"],
    ["whoever has another nonce", { ...GOOD, [KILL_HEADER]: "the nonce of last start" }, "127.0.0.1"],
  ])("is refused to %s", async (_who, headers, remoteAddress) => {
    const answer = await kill(headers, remoteAddress);
    expect(answer).toMatchObject({ status: 403, json: { code: "forbidden" } });
    expect(answer.headers["access-control-allow-origin"]).toBeUndefined();
    expect(killed).toEqual([]);
  });

  test.each([
    ["127.0.0.1", "127.0.0.1:8080"],
    ["::1", "[::1]:8080"],
    ["::ffff:127.0.0.1", "localhost"],
  ])("is granted over %s as %s", async (remoteAddress, host) => {
    const headers = { ...GOOD, host, origin: `http://${host}`, "sec-fetch-site": "same-origin" };
    expect((await kill(headers, remoteAddress)).status).toBe(200);
  });

  test("no preflight of another origin is told anything", async () => {
    const headers = { host: HOST, origin: "http://evil.example", "access-control-request-method": "POST" };
    const answer = await door.app.inject({ method: "OPTIONS", url: KILL_PATH, headers });
    const told = Object.keys(answer.headers).filter((name) => name.startsWith("access-control-"));
    expect(told).toEqual([]);
  });

  test("never takes the last router of a topic: 409", async () => {
    await door.close();
    door = await open([peer("router-1", 11)]);
    const { status, json } = await kill();
    expect(status).toBe(409);
    expect(json["detail"]).toContain("wait for the other one");
    expect(killed).toEqual([]);
  });

  test.each([
    ["only_one", 409],
    ["too_soon", 429],
    ["no_answer", 503],
  ] as const)("says what the supervisor says: %s is %i", async (said, status) => {
    outcome = said;
    expect((await kill()).status).toBe(status);
  });

  test("needs a token where anonymous access is off", async () => {
    await door.close();
    door = await open(undefined, false);
    expect((await kill()).status).toBe(401);
    expect((await kill({ ...GOOD, authorization: "Bearer token-of-alice" })).status).toBe(200);
  });

  test("needs a topic id", async () => {
    const answer = await door.app.inject({
      method: "POST",
      url: KILL_PATH,
      headers: GOOD,
      payload: '{"topic_id":"x"}',
    });
    expect(answer.json()).toMatchObject({ code: "topic_id_invalid" });
  });

  test("is not there without a supervisor, and neither is a nonce", async () => {
    await door.close();
    door = await openDoor();
    expect((await kill()).status).toBe(404);
    expect((await door.app.inject({ url: "/", headers: { host: HOST } })).body).toContain(
      'name="earshot-kill" content=""',
    );
  });
});

test("the router to be killed is the first that lives, where another one lives too", () => {
  const owners = [owner("router-0"), owner("router-1")];
  expect(routerToKill(owners, [peer("router-1", 11), peer("router-0", 10)])?.pid).toBe(10);
  expect(routerToKill(owners, [peer("router-1", 11)])).toBeUndefined();
  expect(routerToKill([owner("router-0")], [peer("router-0", 10), peer("router-1", 11)])).toBeUndefined();
});

test("the guard names what is wrong", () => {
  const asking = { remoteAddress: "127.0.0.1", headers: GOOD };
  expect(foreignness(asking, NONCE)).toBeUndefined();
  expect(foreignness({ ...asking, headers: { ...GOOD, "content-type": "text/plain" } }, NONCE)).toContain(
    "Content-Type",
  );
  expect(isLocal({ remoteAddress: undefined, headers: { host: HOST } })).toBe(false);
});

describe("the supervisor", () => {
  const router = (pid: number, kind: "ready" | "starting") => {
    const signals: string[] = [];
    const child = { state: { kind }, process: { pid }, killOnPurpose: () => signals.push("SIGKILL") };
    return { child: child as unknown as Child, signals };
  };

  test("kills a router, and not another one within two seconds", () => {
    const [first, second] = [router(10, "ready"), router(11, "ready")];
    let nowMs = 0;
    const killer = new RouterKiller([first.child, second.child], () => nowMs);
    expect(killer.kill(10)).toBe("killed");
    expect(first.signals).toEqual(["SIGKILL"]);
    nowMs = 1_999;
    expect(killer.kill(11)).toBe("too_soon");
    nowMs = 2_000;
    expect(killer.kill(11)).toBe("killed");
  });

  test("kills neither the last router nor what is none", () => {
    const [first, second] = [router(10, "ready"), router(11, "starting")];
    expect(new RouterKiller([first.child, second.child], () => 0).kill(10)).toBe("only_one");
    const third = router(12, "ready");
    expect(new RouterKiller([first.child, third.child], () => 0).kill(99)).toBe("only_one");
    expect([...first.signals, ...third.signals]).toEqual([]);
  });
});
