// A crowd that comes, is cut off all at once, and comes back at once: when everybody is gone nobody is counted anywhere, and
// the fleet serves on. (The bench `churn --connections 5000` does the same with more.)

import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { call, publish } from "../harness/http.ts";
import { metricIn } from "../harness/metrics.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const TOPIC = "default.demo";
const CROWD = 2_000;
const AT_ONCE = 100;
const LONG_MS = 60_000;

const MEMBERS = `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: default, name: demo}
spec: {permissions: Public, channels: Dynamic, presence: Members}
`;

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await startFleet({ topics: [MEMBERS] });
});
afterAll(() => fleet.close());

async function total(role: "gateway" | "router" | "presence", name: string, labels?: string): Promise<number> {
  const texts = await Promise.all(fleet.names(role).map((process) => fleet.metrics(process)));
  return texts.reduce((sum, text) => sum + metricIn(text, name, labels), 0);
}

/** What is counted of clients, by everybody who counts. */
async function counts(): Promise<Record<string, number>> {
  return {
    connections: await total("gateway", "earshot_gateway_connections"),
    subscriptions: await total("gateway", "earshot_gateway_subscriptions"),
    topics: await total("gateway", "earshot_gateway_topics"),
    deadlines: await total("gateway", "earshot_gateway_deadlines"),
    unsent: await total("gateway", "earshot_gateway_unsent_bytes"),
    heldPresence: await total("gateway", "earshot_presence_held"),
    routerSubscriptions: await total("router", "earshot_router_subscriptions"),
    interests: await total("router", "earshot_router_interests"),
  };
}

/** One client, as cheap as can be: its socket, once its subscription was told. */
function openOne(number: number): Promise<Socket> {
  const gateway = fleet.names("gateway")[number % 2] ?? "";
  const port = Number(new URL(fleet.http(gateway)).port);
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    const query = `topic_id=${TOPIC}&topic_id=${TOPIC}:room-${Math.floor(number / 4)}`;
    socket.on("error", reject);
    socket.on("close", () => reject(new Error(`client ${number} was let go: ${text.slice(0, 200)}`)));
    socket.on("data", (chunk: Buffer) => {
      if (text.split('"subscribed"').length > 2) return;
      text += chunk.toString("latin1");
      if (text.split('"subscribed"').length > 2) resolve(socket);
    });
    socket.write(
      `GET /ws/subscribe?${query} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n` +
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
  });
}

async function crowd(): Promise<Socket[]> {
  const sockets: Socket[] = [];
  while (sockets.length < CROWD) {
    const some = Math.min(AT_ONCE, CROWD - sockets.length);
    const first = sockets.length;
    sockets.push(...(await Promise.all(Array.from({ length: some }, (_, index) => openOne(first + index)))));
  }
  return sockets;
}

test("nobody is counted any more once a crowd was cut off, twice, and the fleet serves", {
  timeout: 180_000,
}, async () => {
  const before = await counts();
  expect(before).toMatchObject({ connections: 0, subscriptions: 0, interests: 0 });
  for (const time of ["first", "second"]) {
    const sockets = await crowd();
    expect(await counts()).toMatchObject({
      connections: CROWD,
      subscriptions: 2 * CROWD,
      routerSubscriptions: 2 * 2 * CROWD,
    });
    expect((await publish(fleet.http(), TOPIC, time)).json).toMatchObject({ delivered_to: CROWD });
    for (const socket of sockets) socket.destroy();
    // Whoever is cut off comes back at once, while the others are still being let go.
    const again = await Promise.all(Array.from({ length: AT_ONCE }, (_, index) => openOne(index)));
    await until(
      async () => {
        const { connections, interests } = await counts();
        return connections === AT_ONCE && interests === 2 * (1 + AT_ONCE / 4);
      },
      "only those who came back are counted",
      LONG_MS,
    );
    expect((await publish(fleet.http("gateway-1"), TOPIC, "again")).json).toMatchObject({ delivered_to: AT_ONCE });
    for (const socket of again) socket.destroy();
    await until(
      async () => {
        const now = await counts();
        return Object.entries(now).every(([name, count]) => count <= (before[name] ?? 0));
      },
      "nobody is counted",
      LONG_MS,
    );
  }
  const { json } = await call(fleet.http(), "GET", `/api/v1/topics/${TOPIC}/subscribers`);
  expect(json).toMatchObject({ count: 0, connections: 0, subscribers: [] });
  const client = await openWebSocket(fleet.ws(), { topics: [TOPIC] });
  expect((await publish(fleet.http("gateway-1"), TOPIC, "one")).json).toMatchObject({ delivered_to: 1 });
  await client.frames.next({ type: "message", payload: "one" });
  await client.close();
});
