// Everything over IPv6: `npm start` on ::1, addresses as they are printed and told, and limits of addresses.

import { networkInterfaces } from "node:os";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openGrpc } from "../harness/grpc-ears.ts";
import { call, publish } from "../harness/http.ts";
import { openSse } from "../harness/sse.ts";
import { launchStandalone, type Standalone, startStandalone } from "../harness/standalone.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const TOPIC = "default.demo";

const hasIpv6 = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === "::1"),
);
if (!hasIpv6) process.stdout.write("skipped: no network interface here has the address ::1\n");

/** What the banner names: `[::1]:port`. */
function addressesOf({ stdout }: Standalone): { http: string; grpc: string } {
  return {
    http: /listening\. {3}http:\/\/(\S+)/.exec(stdout)?.[1] ?? "",
    grpc: /gRPC: {3}(\S+)/.exec(stdout)?.[1] ?? "",
  };
}

describe.skipIf(!hasIpv6)("on ::1", () => {
  let standalone: Standalone;
  let http: string;
  let grpc: string;
  beforeAll(async () => {
    standalone = await startStandalone({
      env: { EARSHOT_HOST: "::1", EARSHOT_GATEWAYS: "1", EARSHOT_CONNECTIONS_PER_ADDRESS: "4" },
    });
    ({ http, grpc } = addressesOf(standalone));
  });
  afterAll(() => standalone.close());

  test("the banner writes addresses as they can be used, and nothing is said besides", () => {
    expect(http).toMatch(/^\[::1\]:\d+$/);
    expect(grpc).toMatch(/^\[::1\]:\d+$/);
    expect(standalone.stdout).toContain(`Hear:   curl -N 'http://${http}/api/v1/topics/default.demo/subscribe'\n`);
    expect(standalone.stderr).toBe("");
  });

  test("every door is open: WebSocket, SSE and gRPC hear what HTTP speaks", async () => {
    const socket = await openWebSocket(`ws://${http}`, { topics: [TOPIC] });
    const stream = await openSse(`http://${http}`, TOPIC);
    const ears = await openGrpc(grpc, [TOPIC]);
    expect((await publish(`http://${http}`, TOPIC, "six")).json).toMatchObject({ delivered_to: 3 });
    await socket.frames.next({ type: "message", payload: "six" });
    await stream.frames.next({ type: "message", payload: "six" });
    await ears.next("message");
    await socket.close();
    await stream.close();
    ears.close();
  });

  test("processes are told with addresses that can be fetched", async () => {
    const { json } = await call(`http://${http}`, "GET", "/api/v1/status");
    for (const { metrics } of json["processes"] as { metrics: string }[]) {
      expect((await fetch(metrics)).status, metrics).toBe(200);
    }
  });

  test("a limit of addresses counts a connection over any door, and one more is refused", async () => {
    // Those of the test before are gone.
    await until(async () => (await publish(`http://${http}`, TOPIC, 1)).json["delivered_to"] === 0, "nobody is there");
    const sockets = await Promise.all([1, 2].map(() => openWebSocket(`ws://${http}`, { topics: [TOPIC] })));
    const stream = await openSse(`http://${http}`, TOPIC);
    const ears = await openGrpc(grpc, [TOPIC]);
    const refused = await openSseTurnedAway(`http://${http}`);
    expect(refused).toContain('"type":"reconnect"');
    await stream.close();
    await until(
      async () => !(await openSseTurnedAway(`http://${http}`)).includes('"type":"reconnect"'),
      "there is room for one again",
    );
    for (const socket of sockets) await socket.close();
    ears.close();
  });

  test("a second start on it says which port is in use", async () => {
    const port = /(\d+)$/.exec(http)?.[1] ?? "";
    const second = launchStandalone({ env: { EARSHOT_HOST: "::1", EARSHOT_PORT: port } });
    expect(await second.ended()).toBe(1);
    expect(second.stderr).toContain(`port ${port} on ::1 is in use by another program`);
    await second.close();
  });
});

/** The first bytes of a stream, up to its first event. */
async function openSseTurnedAway(base: string): Promise<string> {
  const abort = new AbortController();
  const response = await fetch(`${base}/api/v1/topics/${TOPIC}/subscribe`, { signal: abort.signal });
  let text = "";
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    if (text.includes("data: ")) break;
  }
  abort.abort();
  return text;
}

describe.skipIf(!hasIpv6)("on all addresses", () => {
  test("is refused without a key of one's own, also in IPv6's words", async () => {
    for (const host of ["::", "::ffff:0.0.0.0"]) {
      const failing = launchStandalone({ env: { EARSHOT_HOST: host } });
      expect(await failing.ended()).toBe(2);
      expect(failing.stderr).toContain(`${host} (--host, EARSHOT_HOST) can be reached from other machines`);
      await failing.close();
    }
  });

  test("with a key it is reached by IPv4 and IPv6, and an IPv4 client counts by its IPv4 address", async () => {
    const standalone = await startStandalone({
      env: {
        EARSHOT_HOST: "::",
        EARSHOT_SECRET: "a test's own secret, longer than 32 bytes",
        EARSHOT_GATEWAYS: "1",
        EARSHOT_CONNECTIONS_PER_ADDRESS: "1",
      },
    });
    try {
      const port = new URL(standalone.http).port;
      const four = await openWebSocket(`ws://127.0.0.1:${port}`, { topics: [TOPIC] });
      const six = await openWebSocket(`ws://[::1]:${port}`, { topics: [TOPIC] });
      expect((await publish(`http://[::1]:${port}`, TOPIC, 46)).json).toMatchObject({ delivered_to: 2 });
      await four.frames.next({ type: "message", payload: 46 });
      await six.frames.next({ type: "message", payload: 46 });
      expect(await openSseTurnedAway(`http://127.0.0.1:${port}`)).toContain('"type":"reconnect"');
      await four.close();
      await six.close();
    } finally {
      await standalone.close();
    }
  });

  test("an IPv4 loopback address in IPv6's words is loopback", async () => {
    const standalone = await startStandalone({ env: { EARSHOT_HOST: "::ffff:127.0.0.1" } });
    try {
      const { http } = addressesOf(standalone);
      expect((await publish(`http://${http}`, TOPIC, 1)).status).toBe(200);
      expect((await publish(`http://127.0.0.1:${new URL(`http://${http}`).port}`, TOPIC, 1)).status).toBe(200);
    } finally {
      await standalone.close();
    }
  });
});
