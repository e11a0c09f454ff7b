// The last hop, with real processes: who subscribes hears what is spoken, over every kind of connection.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { openSse } from "../harness/sse.ts";
import { openWebSocket } from "../harness/websocket.ts";

let fleet: TestFleet;

beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(async () => {
  await fleet?.close();
});

async function speak(topicId: string, payload: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(`${fleet.http()}/api/v1/topics/${topicId}/publish`, {
    method: "POST",
    body: JSON.stringify({ payload }),
  });
  return (await response.json()) as Record<string, unknown>;
}

describe("a topic with listeners", () => {
  it("is heard over WebSocket and SSE, at either gateway", async () => {
    const topicId = "default.demo:hear";
    const first = await openWebSocket(fleet.ws("gateway-0"), { topics: [topicId] });
    const second = await openWebSocket(fleet.ws("gateway-1"), { topics: [topicId] });
    const third = await openSse(fleet.http("gateway-1"), topicId);
    const answer = await speak(topicId, { hello: 1 });
    expect(answer).toMatchObject({ delivered_to: 3, dropped: false });
    for (const client of [first, second, third]) {
      const frame = await client.frames.next({ type: "message" });
      expect(frame).toMatchObject({ topic_id: topicId, message_id: answer["message_id"], payload: { hello: 1 } });
    }
    await Promise.all([first.close(), second.close(), third.close()]);
  });

  it("tells the welcome first, then subscribed, then messages", async () => {
    const topicId = "default.demo:order";
    const client = await openWebSocket(fleet.ws(), { topics: [topicId] });
    await speak(topicId, "a");
    await client.frames.next({ type: "message" });
    expect(client.frames.all.map((frame) => frame.type)).toEqual(["welcome", "subscribed", "message"]);
    const subscribed = client.frames.all[1];
    expect(typeof subscribed?.["incarnation"]).toBe("string");
    expect(client.frames.all[2]?.["seq"]).toBe(Number(subscribed?.["seq"]) + 1);
    await client.close();
  });
});
