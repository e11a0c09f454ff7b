// An address that sends bad tokens is refused unseen. Behind a NAT it is the address of many, who have done nothing: they
// are told to come back, which is what neither 4429 nor a 429 tells a WebSocket or an EventSource.

import { afterEach, beforeEach, expect, test } from "vitest";
import { EDGE_SECRET } from "../harness/edge-stand-ins.ts";
import { call } from "../harness/http.ts";
import { LocalGateway } from "../harness/local-gateway.ts";
import { SseClient } from "../harness/sse.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { WebSocketClient } from "../harness/websocket.ts";

/** Bad tokens in one turn of the event loop: more than the address is given back in that time. */
const GUESSES_A_TURN = 50;

let local: LocalGateway;
let guessing: boolean;
let users = 0;

const goodToken = (): string => signToken({ sub: `user ${(users += 1)}` }, EDGE_SECRET);

/** From the address that the clients of this test have; goes on until the test is over. */
function guess(): void {
  if (!guessing) return;
  for (let count = 0; count < GUESSES_A_TURN; count++) local.edge.authenticate("guess", "127.0.0.1").catch(() => {});
  setImmediate(guess);
}

beforeEach(async () => {
  local = await LocalGateway.open();
  guessing = true;
});

afterEach(async () => {
  guessing = false;
  await local.close();
});

test("a WebSocket with a good token that was never seen is closed 1013, and told when to come back", async () => {
  guess();
  const refused = await until(async () => {
    const client = new WebSocketClient(local.ws, { token: goodToken() });
    const first = await client.frames.next((frame) => frame.type === "welcome" || frame.type === "error");
    if (first.type === "error") return client;
    await client.close();
    return undefined;
  }, "one is refused unseen");
  expect((await refused.closed).code).toBe(1013);
  expect(refused.frames.all).toMatchObject([
    { type: "error", code: "overloaded", retryable: true },
    { type: "reconnect", closes_in_ms: 0 },
  ]);
});

test("an SSE stream is answered 200 and told when to come back", async () => {
  guess();
  const turnedAway = await until(async () => {
    const stream = await SseClient.open(local.http, "/api/v1/topics/default.demo/subscribe", goodToken());
    const first = await stream.frames.next((frame) => frame.type === "welcome" || frame.type === "reconnect");
    if (first.type === "reconnect") return stream;
    await stream.close();
    return undefined;
  }, "one is turned away unseen");
  expect(turnedAway.response.status).toBe(200);
  await turnedAway.ended;
});

test("a token that was proven before goes on working, at once", async () => {
  const token = goodToken();
  const path = "/api/v1/topics/default.demo/publish";
  const speak = async (): Promise<number> =>
    (await call(local.http, "POST", path, { token, body: { payload: 1 } })).status;
  expect(await speak()).toBe(200);
  guess();
  await until(async () => {
    const { status } = await call(local.http, "POST", path, { token: "guess", body: { payload: 1 } });
    return status === 429;
  }, "the address is refused unseen");
  expect(await speak()).toBe(200);
});
