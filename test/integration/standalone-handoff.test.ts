// What macOS and Windows do, on any system: one process accepts, gateways get the connections.

import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { GrpcClient } from "#core/runtime/grpc.ts";
import { PublisherService } from "#proto/earshot/v1/publisher_pb.ts";
import { publish } from "../harness/http.ts";
import { openSse } from "../harness/sse.ts";
import { isAlive, type Standalone, startStandalone } from "../harness/standalone.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, type WebSocketClient } from "../harness/websocket.ts";

let standalone: Standalone;
beforeAll(async () => {
  standalone = await startStandalone({ env: { EARSHOT_PORT_SHARING: "handoff" } });
});
afterAll(() => standalone.close());

/** The gateway's part of a connection id. */
function gatewayOf(client: WebSocketClient): string {
  const [welcome] = client.frames.of("welcome");
  const id = welcome?.["connection_id"];
  return typeof id === "string" ? id.slice(0, id.indexOf("-")) : "";
}

/** Publishes over a connection of its own; resolves with the status. */
async function speakAlone(): Promise<number> {
  const path = "/api/v1/topics/default.demo/publish";
  const call = request(`${standalone.http}${path}`, { method: "POST", agent: false });
  call.end('{"payload":"alone"}');
  const [answer] = (await once(call, "response")) as [IncomingMessage];
  answer.resume();
  return answer.statusCode ?? 0;
}

test("says in one line what it does instead", () => {
  expect(standalone.stderr.trim().split("\n")).toEqual([expect.stringContaining("portSharing: handoff")]);
});

test("connections go to the gateways in turn, and messages cross between them", async () => {
  const clients: WebSocketClient[] = [];
  for (let index = 0; index < 4; index++) {
    clients.push(await openWebSocket(standalone.ws, { topics: ["default.demo"] }));
  }
  expect(new Set(clients.map(gatewayOf)).size).toBe(2);
  expect((await publish(standalone.http, "default.demo", "all")).json).toMatchObject({ delivered_to: 4 });
  for (const client of clients) {
    await client.frames.next({ type: "message", payload: "all" });
    await client.close();
  }
});

test("gRPC is handed over too", async () => {
  const ear = await openSse(standalone.http, "default.demo");
  const client = new GrpcClient(standalone.grpc);
  const answer = await client.unary(
    PublisherService.method.publish,
    {
      $typeName: "earshot.v1.PublishRequest",
      topicId: "default.demo",
      content: { case: "payload", value: '"by gRPC"' },
      priority: 0,
      receipt: 0,
      excludeConnectionId: "",
    },
    5_000,
  );
  expect(answer.deliveredTo).toBe(1n);
  await ear.frames.next({ type: "message", payload: "by gRPC" });
  client.close();
  await ear.close();
});

test("a gateway that is gone or drains gets no connection until another is in its place", async () => {
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    const before = standalone.peer("gateway-0");
    process.kill(before?.pid ?? 0, signal);
    await until(() => before === undefined || !isAlive(before.pid), "it has ended");
    for (let index = 0; index < 4; index++) {
      expect((await publish(standalone.http, "default.demo", index)).status).toBe(200);
    }
    await until(() => {
      const now = standalone.peer("gateway-0");
      return now !== undefined && now.pid !== before?.pid;
    }, "gateway-0 is there again");
  }
});

test("a connection that a gateway dies before taking goes to another one", async () => {
  const frozen = standalone.peer("gateway-1");
  process.kill(frozen?.pid ?? 0, "SIGSTOP");
  const statuses: number[] = [];
  const answers = Array.from({ length: 8 }, async () => statuses.push(await speakAlone()));
  await until(() => statuses.length >= 4, "those of the other gateway are answered");
  process.kill(frozen?.pid ?? 0, "SIGKILL");
  await Promise.all(answers);
  expect(statuses).toEqual(Array.from({ length: 8 }, () => 200));
  await until(() => {
    const now = standalone.peer("gateway-1");
    return now !== undefined && now.pid !== frozen?.pid;
  }, "gateway-1 is there again");
});

test("ends as ever", async () => {
  const pids = standalone.peers().map(({ pid }) => pid);
  standalone.child.kill("SIGINT");
  if (!standalone.hasEnded) await once(standalone.child, "exit");
  expect(standalone.child.exitCode).toBe(0);
  expect(pids.filter(isAlive)).toEqual([]);
});
