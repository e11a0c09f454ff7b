// Whatever a WebSocket client sends, it gets an answer or a close of the table, and nobody else notices.

import { once } from "node:events";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import WebSocketLibrary from "ws";
import { CLOSES } from "#core/domain/closes.ts";
import { isCode } from "#core/domain/codes.ts";
import { parseClientFrame } from "../../gateway/websocket/client-frame.ts";
import { LocalGateway } from "../harness/local-gateway.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, type WebSocketClient } from "../harness/websocket.ts";

const TOPIC = "default.demo:42";

/** Frames near the grammar: right fields with wrong values, wrong fields, and right ones. */
const nearFrame = fc.record(
  {
    type: fc.oneof(fc.constantFrom("subscribe", "unsubscribe", "publish", "token", "ping"), fc.jsonValue()),
    id: fc.oneof(fc.string(), fc.jsonValue()),
    topic_id: fc.oneof(fc.constantFrom(TOPIC, "default.demo", "x", ""), fc.jsonValue()),
    echo: fc.oneof(fc.boolean(), fc.jsonValue()),
    presence: fc.oneof(fc.boolean(), fc.jsonValue()),
    payload: fc.jsonValue(),
    encoding: fc.oneof(fc.constantFrom("base64", "json"), fc.jsonValue()),
    priority: fc.oneof(fc.constantFrom("Low", "Normal"), fc.jsonValue()),
    receipt: fc.oneof(fc.constantFrom("router", "gateway"), fc.jsonValue()),
    token: fc.oneof(fc.string(), fc.jsonValue()),
    __proto__: fc.jsonValue(),
    other: fc.jsonValue(),
  },
  { requiredKeys: [] },
);

describe("parsing a client's frame", () => {
  it("never throws, and what it accepts is of the grammar", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.json().map((text) => Buffer.from(text)),
      nearFrame.map((frame) => Buffer.from(JSON.stringify(frame))),
    );
    fc.assert(
      fc.property(bytes, (input) => {
        const result = parseClientFrame(input);
        switch (result.kind) {
          case "foreign":
            expect(result.message).not.toBe("");
            return;
          case "refused":
            expect(["invalid_request", "message_too_large", "topic_id_invalid"]).toContain(result.error.code);
            return;
          case "frame":
            expect(["subscribe", "unsubscribe", "publish", "token", "ping"]).toContain(result.frame.type);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("a gateway under any input", () => {
  let local: LocalGateway;
  let bystander: WebSocketClient;

  beforeAll(async () => {
    local = await LocalGateway.open({ controlMessagesPerSecond: 1_000_000, controlMessagesBurst: 1_000_000 });
    bystander = await openWebSocket(local.ws, { topics: [TOPIC] });
  });
  afterAll(async () => {
    await bystander?.close();
    await local?.close();
  });

  it("answers near frames with frames of the protocol, and lives on", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(nearFrame, { maxLength: 20 }), async (frames) => {
        const client = await openWebSocket(local.ws);
        for (const frame of frames) client.send(frame);
        client.send({ type: "ping", id: "the last one" });
        await client.frames.next({ type: "pong", id: "the last one" });
        for (const frame of client.frames.of("error")) expect(isCode(frame["code"] as string)).toBe(true);
        await client.close();
      }),
      { numRuns: 50 },
    );
    local.router.speak(TOPIC, { payload: "alive" });
    await bystander.frames.next({ type: "message", payload: "alive" });
  });

  it("closes raw garbage with a code of the table, and lives on", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 5 }), async (chunks) => {
        const socket = new WebSocketLibrary(`${local.ws}/ws/subscribe`);
        socket.on("error", () => undefined);
        await once(socket, "open");
        let closed: number | undefined;
        socket.on("close", (code) => {
          closed = code;
        });
        const raw = (socket as unknown as { _socket: { write(bytes: Uint8Array): boolean } })._socket;
        for (const chunk of chunks) raw.write(chunk);
        // Garbage may be the begin of a frame that never ends: the client itself ends that one.
        const endless = setTimeout(() => socket.terminate(), 200);
        await until(() => closed !== undefined, "the connection is over");
        clearTimeout(endless);
        const code = String(closed);
        expect(Object.hasOwn(CLOSES, code) || ["1000", "1005", "1006"].includes(code) || Number(code) >= 3000).toBe(
          true,
        );
      }),
      { numRuns: 40 },
    );
    await until(() => local.gateway.sessions.size === 1, "only the bystander is left");
    local.router.speak(TOPIC, { payload: "still alive" });
    await bystander.frames.next({ type: "message", payload: "still alive" });
  });
});
