import { create } from "@bufbuild/protobuf";
import { afterEach, expect, test } from "vitest";
import { Placer } from "#core/fleet/placer.ts";
import type { PublishOrder } from "#core/fleet/publish-order.ts";
import { SyncClient } from "#core/fleet/sync-client.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import { secretIdentity } from "#core/runtime/peer-identity.ts";
import { MutateTopicRequestSchema } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { HandMap, routerAt } from "../harness/hand-map.ts";
import { HandPeers, peerAt } from "../harness/hand-peers.ts";
import { type ScriptedProcess, startScripted } from "../harness/scripted-process.ts";
import { ScriptedRouter } from "../harness/scripted-router.ts";
import { until } from "../harness/until.ts";

const SECRET = "a secret of the fleet";
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function start(kind: "router" | "operator"): Promise<ScriptedProcess> {
  const scripted = await startScripted(kind, SECRET);
  closers.push(() => scripted.signal("SIGKILL"));
  return scripted;
}

const common = { identity: secretIdentity(SECRET), clock: SYSTEM_CLOCK, log: createLog("silent", {}) };

const order: PublishOrder = {
  kind: "message",
  topicId: "shop.chat",
  payload: Buffer.from("1"),
  binary: false,
  publisherId: "alice",
  priority: undefined,
  receipt: "router",
  originConnectionId: "",
  excludeConnectionId: "",
};

test("a frozen operator is found out, refuses changes in bounded time, and is taken up again when it wakes", async () => {
  const operator = await start("operator");
  const peers = new HandPeers();
  const self = { incarnation: "me", role: "gateway", name: "gateway-0", node: "", zone: "", address: "" } as const;
  const client = new SyncClient({ ...common, self, peers, registry: new Registry() });
  client.start();
  closers.push(() => client.close());
  peers.set([peerAt("operator", "op", operator.address)]);
  await until(() => client.operatorConnected, "connected");
  operator.signal("SIGSTOP");
  const startedAt = performance.now();
  const request = create(MutateTopicRequestSchema, {
    namespace: "a",
    name: "b",
    change: { case: "delete", value: true },
  });
  await expect(client.mutateTopic(request)).rejects.toMatchObject({ code: "control_plane_unavailable" });
  expect(performance.now() - startedAt).toBeLessThan(4_000);
  await until(() => !client.operatorConnected, "stream replaced", 5_000);
  operator.signal("SIGCONT");
  await until(() => client.operatorConnected, "connected again", 15_000);
  expect((await client.mutateTopic(request)).ready).toBe(true);
});

test("a frozen router is left within 4 s, and used again when it wakes", async () => {
  const frozen = await start("router");
  const standby = await ScriptedRouter.listen("standby", SECRET);
  closers.push(() => standby.kill());
  const fleet = new HandMap();
  fleet.set([routerAt("frozen", frozen.address), standby.router]);
  const placer = new Placer({ ...common, fleet, incarnation: "me", name: "gateway-0", registry: new Registry() });
  closers.push(() => placer.close());
  await until(() => placer.streamState("frozen") === "live" && placer.streamState("standby") === "live", "both live");
  expect((await placer.place(order)).messageId).toBe("frozen-1");
  frozen.signal("SIGSTOP");
  const startedAt = performance.now();
  await expect(placer.place(order)).rejects.toMatchObject({ code: "publish_unknown" });
  expect(performance.now() - startedAt).toBeLessThan(4_500);
  expect((await placer.place(order)).messageId).toBe("standby-1");
  frozen.signal("SIGCONT");
  await until(() => placer.streamState("frozen") === "live", "live again", 15_000);
  expect((await placer.place(order)).messageId).toMatch(/^frozen-/);
});
