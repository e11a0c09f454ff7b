import { afterEach, expect, test } from "vitest";
import { EarshotError } from "#core/runtime/errors.ts";
import { clientAddress, trustedProxies } from "../../gateway/http/client-address.ts";
import type { HttpDeps } from "../../gateway/http/deps.ts";
import { type Door, openDoor } from "../harness/http-door.ts";

let door: Door | undefined;
afterEach(async () => {
  await door?.close();
  door = undefined;
});

async function open(config: Partial<HttpDeps["config"]> = {}): Promise<Door> {
  const whole = { allowedOrigins: ["*"], trustedProxies: [], anonymous: true, ...config };
  door = await openDoor({ config: whole });
  return door;
}

function topics(headers: Record<string, string> = {}, query = "") {
  if (door === undefined) throw new Error("no door is open");
  return door.app.inject({ url: `/api/v1/topics${query}`, headers });
}

test("a token comes in the header, or else in the query", async () => {
  const { state } = await open();
  await topics({ authorization: "Bearer token-of-alice" });
  await topics({ authorization: "bearer   token-of-bob " });
  await topics({}, "?token=token-of-carol");
  await topics({ authorization: "Bearer token-of-alice" }, "?token=token-of-carol");
  await topics();
  await topics({}, "?token=");
  const users = state.asked.calls.map(({ principal }) =>
    principal.kind === "user" ? principal.userId : principal.kind,
  );
  expect(users).toEqual(["alice", "bob", "carol", "alice", "anonymous", "anonymous"]);
});

test.each([
  [{ authorization: "Basic abc" }, ""],
  [{ authorization: "Bearer" }, ""],
  [{ authorization: "Bearer a b" }, ""],
  [{ authorization: "Bearer bad" }, ""],
  [{}, "?token=bad"],
  [{}, "?token=token-of-a&token=token-of-b"],
])("a token like %o %s is refused with how to authenticate", async (headers, query) => {
  await open();
  const answer = await topics(headers as Record<string, string>, query);
  expect([answer.statusCode, answer.json().code]).toEqual([401, "unauthenticated"]);
  expect(answer.headers["www-authenticate"]).toBe('Bearer realm="earshot", error="invalid_token"');
  expect(answer.body).not.toContain("bad");
});

test("an expired token is told apart", async () => {
  await open();
  expect((await topics({ authorization: "Bearer expired" })).json()).toMatchObject({
    status: 401,
    code: "token_expired",
  });
});

test("where a token is needed and none was sent, no token is called invalid", async () => {
  await open();
  const answer = await door?.app.inject({ url: "/api/v1/topics/shop.wall/route" });
  expect([answer?.statusCode, answer?.headers["www-authenticate"]]).toEqual([401, 'Bearer realm="earshot"']);
});

test("a bad token counts against its address, and the limit of rates comes first", async () => {
  const { state } = await open();
  await topics({ authorization: "Bearer bad" });
  expect(state.asked.calls.map(({ principal }) => principal.kind)).toEqual(["anonymous"]);
  state.fails.set("admit", new EarshotError("rate_limited"));
  expect((await topics({ authorization: "Bearer bad" })).json().code).toBe("rate_limited");
  const answer = await topics();
  expect([answer.statusCode, answer.headers["retry-after"]]).toEqual([429, "1"]);
});

test("nobody's body is read before the caller is known", async () => {
  await open();
  const answer = await door?.app.inject({
    method: "POST",
    url: "/api/v1/topics",
    payload: "not JSON",
    headers: { authorization: "Bearer bad" },
  });
  expect(answer?.json().code).toBe("unauthenticated");
});

test("calls without a connection have ids of their own, which no connection has", async () => {
  const { state } = await open();
  await topics();
  await topics();
  expect(state.asked.calls.map(({ connectionId }) => connectionId)).toEqual(["abcdef-h1", "abcdef-h2"]);
});

test("only trusted proxies are believed, from the nearest one outwards", () => {
  const trusted = trustedProxies(["10.0.0.0/8", "192.0.2.7", "fd00::/8"]);
  expect(clientAddress("203.0.113.9", "198.51.100.1", trusted)).toBe("203.0.113.9");
  expect(clientAddress("10.1.2.3", "198.51.100.1", trusted)).toBe("198.51.100.1");
  expect(clientAddress("::ffff:10.1.2.3", "198.51.100.1", trusted)).toBe("198.51.100.1");
  expect(clientAddress("10.1.2.3", "1.1.1.1, 198.51.100.1, 192.0.2.7", trusted)).toBe("198.51.100.1");
  expect(clientAddress("fd00::1", "2001:db8::1", trusted)).toBe("2001:db8:0:0::/64");
  expect(clientAddress("fe80::1%eth0", "2001:db8::1", trusted)).toBe("fe80:0:0:0:0:0:0:1");
  expect(clientAddress("10.1.2.3", "198.51.100.1:50000, 10.0.0.1:80", trusted)).toBe("198.51.100.1");
  expect(clientAddress("fd00::1", "[2001:db8::1]:50000", trusted)).toBe("2001:db8:0:0::/64");
  expect(clientAddress("fd00::1", "[2001:db8::1]", trusted)).toBe("2001:db8:0:0::/64");
  for (const wrong of ["[]", "[198.51.100.1", ":80", "198.51.100.1:", "198.51.100.1:port"]) {
    expect(clientAddress("10.1.2.3", wrong, trusted), wrong).toBe("10.1.2.3");
  }
  expect(clientAddress("10.1.2.3", "unknown", trusted)).toBe("10.1.2.3");
  expect(clientAddress("10.1.2.3", undefined, trusted)).toBe("10.1.2.3");
  expect(clientAddress("10.1.2.3", "10.0.0.1, 10.0.0.2", trusted)).toBe("10.0.0.1");
  expect(clientAddress("10.1.2.3", Array.from({ length: 10_000 }, () => "10.0.0.1").join(","), trusted)).toBe(
    "10.0.0.1",
  );
  expect(clientAddress(undefined, undefined, trusted)).toBe("");
  expect(clientAddress("10.1.2.3", "198.51.100.1", trustedProxies([]))).toBe("10.1.2.3");
});

test("any origin may read every answer, errors too, and never with credentials", async () => {
  await open();
  for (const url of ["/api/v1/topics", "/api/v1/topics/no", "/nowhere"]) {
    const answer = await door?.app.inject({ url, headers: { origin: "https://app.example" } });
    expect(answer?.headers["access-control-allow-origin"], url).toBe("*");
    expect(answer?.headers["access-control-allow-credentials"]).toBeUndefined();
    expect(answer?.headers["access-control-expose-headers"]).toContain("Retry-After");
  }
});

test("a preflight is answered for two hours, without knowing the caller", async () => {
  const { state } = await open();
  const answer = await door?.app.inject({
    method: "OPTIONS",
    url: "/api/v1/topics/default.demo/publish",
    headers: {
      origin: "https://app.example",
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,content-type",
    },
  });
  expect(answer?.statusCode).toBe(204);
  expect(answer?.headers).toMatchObject({
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, POST, PATCH, DELETE",
    "access-control-max-age": "7200",
  });
  expect(answer?.headers["access-control-allow-headers"]).toContain("Authorization");
  expect(state.asked.calls).toEqual([]);
});

test("with a list of origins each is answered by its name, another gets nothing", async () => {
  await open({ allowedOrigins: ["https://app.example", "https://b.example"] });
  const good = await topics({ origin: "https://app.example" });
  expect(good.headers).toMatchObject({ "access-control-allow-origin": "https://app.example", vary: "Origin" });
  for (const origin of ["https://evil.example", "null", "https://app.example.evil"]) {
    const bad = await topics({ origin });
    expect([bad.headers["access-control-allow-origin"], bad.headers["vary"]], origin).toEqual([undefined, "Origin"]);
  }
});

test("answers are not stored, and their type is not guessed at", async () => {
  await open();
  const answer = await topics();
  expect(answer.headers).toMatchObject({ "cache-control": "no-store", "x-content-type-options": "nosniff" });
});

test("a gateway that is going away asks for the next connection elsewhere", async () => {
  let draining = false;
  door = await openDoor({ draining: () => draining });
  expect((await topics()).headers["connection"]).not.toBe("close");
  draining = true;
  expect((await topics()).headers["connection"]).toBe("close");
});
