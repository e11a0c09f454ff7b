import { afterEach, expect, test } from "vitest";
import { Counter, createRegistry } from "#core/runtime/metrics.ts";
import { Probes } from "#core/runtime/probes.ts";

let probes: Probes | undefined;
afterEach(() => probes?.close());

async function get(path: string): Promise<{ status: number; body: string }> {
  const response = await fetch(`http://127.0.0.1:${probes?.port}${path}`);
  return { status: response.status, body: await response.text() };
}

test("readyz tells the reasons, and 200 only without any", async () => {
  let reasons = ["no shard map yet"];
  probes = await Probes.listen("127.0.0.1", 0, createRegistry("router"), () => reasons);
  expect(await get("/readyz")).toEqual({ status: 503, body: '{"ready":false,"reasons":["no shard map yet"]}' });
  reasons = [];
  expect(await get("/readyz")).toEqual({ status: 200, body: '{"ready":true,"reasons":[]}' });
  expect((await get("/healthz")).status).toBe(200);
});

test("metrics are served with the role, other paths are not there", async () => {
  const registry = createRegistry("router");
  new Counter({ name: "earshot_test_total", help: "A counter of this test.", registers: [registry] }).inc();
  probes = await Probes.listen("127.0.0.1", 0, registry, () => []);
  expect((await get("/metrics")).body).toContain('earshot_test_total{role="router"} 1');
  expect((await get("/")).status).toBe(404);
});
