import { afterEach, expect, test } from "vitest";
import { type Door, openDoor } from "../harness/http-door.ts";

let door: Door | undefined;
afterEach(async () => {
  await door?.close();
  door = undefined;
});

test("a publish is answered with what became of it", async () => {
  door = await openDoor();
  const answer = await door.app.inject({
    method: "POST",
    url: "/api/v1/topics/default.demo/publish",
    payload: '{"payload": {"__proto__": 1, "n": 12345678901234567890,\n "a": 1}}',
    headers: { "content-type": "application/json", authorization: "Bearer token-of-alice" },
  });
  expect(answer.statusCode).toBe(200);
  expect(answer.json()).toEqual({ message_id: "r3a-9001", delivered_to: 3, exact: false, dropped: false });
  expect(door.state.asked.publishes[0]?.input.content).toEqual({
    kind: "json",
    text: '{"__proto__": 1, "n": 12345678901234567890,  "a": 1}',
  });
});
