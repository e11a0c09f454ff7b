// Static stability, with real processes: an operator that is gone changes nothing but changes.

import { afterAll, beforeAll, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { openWebSocket } from "../harness/websocket.ts";
import { until } from "../harness/until.ts";

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await startFleet();
  fleet.kill("operator-0");
  await fleet.ended("operator-0");
});
afterAll(async () => {
  await fleet?.close();
});

async function speak(gateway: string, topicId: string, payload: unknown): Promise<Record<string, unknown>> {
  const url = `${fleet.http(gateway)}/api/v1/topics/${topicId}/publish`;
  const response = await fetch(url, { method: "POST", body: JSON.stringify({ payload }) });
  return (await response.json()) as Record<string, unknown>;
}

function make(name: string): Promise<Response> {
  const body = JSON.stringify({ name, permissions: "PUBLIC" });
  return fetch(`${fleet.http()}/api/v1/topics`, { method: "POST", body });
}

async function listen(gateway: string, topicId: string): ReturnType<typeof openWebSocket> {
  const listener = await openWebSocket(fleet.ws(gateway), { topics: [topicId] });
  await listener.frames.next({ type: "subscribed" });
  return listener;
}

test("without an operator messages go on, and what needs it says so", async () => {
  const listener = await listen("gateway-0", "default.demo:one");
  expect(await speak("gateway-1", "default.demo:one", 1)).toMatchObject({ delivered_to: 1 });
  expect(await listener.frames.next({ type: "message" })).toMatchObject({ payload: 1 });
  const refused = await make("late");
  expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([
    503,
    "control_plane_unavailable",
  ]);
});

test("a gateway that starts without an operator gets Topics and map from a router, and serves", async () => {
  const late = await fleet.add("gateway");
  const listener = await listen(late, "default.demo:two");
  expect(await speak("gateway-0", "default.demo:two", 2)).toMatchObject({ delivered_to: 1 });
  expect(await listener.frames.next({ type: "message" })).toMatchObject({ payload: 2 });
});

test("a router that is killed then is stood in for by the other", async () => {
  await listen("gateway-0", "default.demo:three");
  fleet.kill("router-0");
  await fleet.ended("router-0");
  await until(
    async () => (await speak("gateway-1", "default.demo:three", 3))["delivered_to"] === 1,
    "delivered by the standby",
  );
});

test("the operator that comes back is taken up again", async () => {
  await fleet.start("operator-0");
  await until(async () => (await make("late")).status === 201, "a Topic made");
});
