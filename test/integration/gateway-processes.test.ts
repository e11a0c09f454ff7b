// Gateways as real processes: warm before they listen, planned ends that move clients, starts that cannot be.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { openSse } from "../harness/sse.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const TOPIC = "default.demo:42";

let fleet: TestFleet;

beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(async () => {
  await fleet?.close();
});

describe("a gateway process", () => {
  it("is ready with a link to every router, and counts what it holds", async () => {
    expect(await fleet.notReady("gateway-0")).toEqual([]);
    const client = await openWebSocket(fleet.ws(), { topics: [TOPIC] });
    const metrics = await fleet.metrics("gateway-0");
    expect(metrics).toMatch(/earshot_gateway_links\{state="alive",role="gateway"\} 2/);
    expect(metrics).toMatch(/earshot_gateway_connections\{transport="websocket",role="gateway"\} 1/);
    expect(metrics).toMatch(/earshot_gateway_subscriptions\{role="gateway"\} 1/);
    expect(metrics).not.toContain("default.demo");
    await client.close();
  });

  it("tells its clients when to move, closes them 1012 and ends with code 0, while others go on", async () => {
    const leaving = [];
    for (let index = 0; index < 20; index++)
      leaving.push(await openWebSocket(fleet.ws("gateway-1"), { topics: [TOPIC] }));
    const stream = await openSse(fleet.http("gateway-1"), TOPIC);
    const staying = await openWebSocket(fleet.ws("gateway-0"), { topics: [TOPIC] });
    fleet.kill("gateway-1", "SIGTERM");
    await until(async () => (await fleet.notReady("gateway-1")).includes("draining"), "it is not ready");
    const delays: number[] = [];
    for (const client of leaving) {
      const { delay_ms: delayMs, closes_in_ms: closesInMs } = await client.frames.next({ type: "reconnect" });
      expect(closesInMs).toBeGreaterThan(delayMs as number);
      expect(closesInMs).toBeLessThanOrEqual(5_000);
      delays.push(delayMs as number);
    }
    expect(new Set(delays).size).toBeGreaterThan(10);
    expect(Math.max(...delays) - Math.min(...delays)).toBeGreaterThan(1_000);
    for (const client of leaving) expect((await client.closed).code).toBe(1012);
    await stream.frames.next({ type: "reconnect" });
    await stream.ended;
    expect(await fleet.ended("gateway-1")).toBe(0);
    await expect(fetch(`${fleet.http("gateway-1")}/api/v1/topics`)).rejects.toThrow("fetch failed");
    const answer = await fetch(`${fleet.http()}/api/v1/topics/${TOPIC}/publish`, {
      method: "POST",
      body: '{"payload":1}',
    });
    expect(await answer.json()).toMatchObject({ delivered_to: 1 });
    await staying.frames.next({ type: "message" });
    await staying.close();
  });

  it("loses nothing for a client that moves when it is told to", async () => {
    await fleet.start("gateway-1");
    const old = await openWebSocket(fleet.ws("gateway-1"), { topics: [TOPIC] });
    fleet.kill("gateway-1", "SIGTERM");
    const { delay_ms: delayMs } = await old.frames.next({ type: "reconnect" });
    const over = new AbortController();
    void old.closed.then(() => over.abort());
    const moved = delay(delayMs as number).then(() => openWebSocket(fleet.ws("gateway-0"), { topics: [TOPIC] }));
    let spoken = 0;
    for (; !over.signal.aborted || spoken <= 100; spoken++) {
      const answer = await fetch(`${fleet.http()}/api/v1/topics/${TOPIC}/publish`, {
        method: "POST",
        body: JSON.stringify({ payload: spoken }),
      });
      expect(((await answer.json()) as { delivered_to: number }).delivered_to).toBeGreaterThan(0);
    }
    const next = await moved;
    await next.frames.next({ type: "message", payload: spoken - 1 });
    const heard = [...old.frames.of("message"), ...next.frames.of("message")].map((frame) => frame["payload"]);
    expect(new Set(heard).size).toBe(spoken);
    expect(spoken).toBeGreaterThan(100);
    await next.close();
    expect(await fleet.ended("gateway-1")).toBe(0);
  });

  it("that cannot start says why in one sentence, with code 2", async () => {
    const other = createServer();
    other.listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    const run = async (env: Record<string, string>): Promise<{ code: number; text: string }> => {
      const child = spawn(process.execPath, ["gateway/main.ts"], {
        stdio: ["ignore", "ignore", "pipe"],
        env: { PATH: process.env["PATH"] ?? "", EARSHOT_PEERS: `folder:${fleet.peersFolder}`, ...env },
      });
      let text = "";
      child.stderr.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      const limit = setTimeout(() => child.kill("SIGKILL"), 10_000);
      const [code] = (await once(child, "exit")) as [number];
      clearTimeout(limit);
      return { code, text };
    };
    const wrong = await run({ EARSHOT_PORT: "http" });
    expect(wrong.code).toBe(2);
    expect(wrong.text).toMatch(/^EARSHOT_PORT must be .*\n$/);
    const busy = await run({
      EARSHOT_PORT: String(port),
      EARSHOT_NAME: "gateway-9",
      EARSHOT_PEER_SECRET: "a test's peer secret",
      EARSHOT_SECRET: fleet.secret,
    });
    expect(busy.code).toBe(2);
    expect(busy.text).toMatch(new RegExp(`^port ${port} .*in use.*\\n$`));
    other.close();
  });
});
