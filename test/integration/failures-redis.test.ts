// Redis dies and comes back empty while 200 messages a second come in over every door and are heard over every transport
// at both gateways: no message is lost; what presence says is stale meanwhile, and right again afterwards.

import { afterEach, expect, test, vi } from "vitest";
import { Drill, DRILL_TOPIC, tellFigures } from "../harness/drill.ts";
import { startFleet } from "../harness/fleet.ts";
import { call } from "../harness/http.ts";
import { manifest } from "../harness/manifest.ts";
import { HAS_REDIS, RedisServer } from "../harness/redis.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

// Minutes of a machine that runs much else.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 });

const SETTLED = 200;
const HEALED_MS = 60_000;

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

test.skipIf(!HAS_REDIS)("Redis killed and back, empty: 0 lost; presence is stale, then as before", async () => {
  const redis = await RedisServer.start();
  closers.push(() => redis.close());
  const fleet = await startFleet({
    presence: false,
    topics: [manifest(DRILL_TOPIC, "permissions: Public, presence: Members")],
    env: { EARSHOT_REDIS_URL: redis.url },
  });
  closers.push(() => fleet.close());
  const member = await openWebSocket(fleet.ws("gateway-1"), {
    topics: [DRILL_TOPIC],
    token: signToken({ sub: "alice" }),
  });
  closers.push(() => member.close());
  const drill = await Drill.start(fleet);
  closers.push(() => drill.close());
  const list = async (): Promise<Record<string, unknown>> =>
    (await call(fleet.http(), "GET", `/api/v1/topics/${DRILL_TOPIC}/subscribers`)).json;
  const isListed = async (): Promise<boolean> => {
    const { stale, count, subscribers } = await list();
    const users = ((subscribers ?? []) as { user_id: string }[]).map(({ user_id: userId }) => userId);
    return stale !== true && count === drill.ears.length + 1 && users.includes("alice");
  };
  await until(isListed, "everybody is listed", HEALED_MS);

  await redis.kill();
  await drill.flows(SETTLED);
  await until(async () => (await list())["stale"] === true, "the list says that it is stale", HEALED_MS);
  await drill.flows(SETTLED);
  await redis.start();
  await until(isListed, "everybody is listed again", HEALED_MS);
  await drill.flows(SETTLED);
  await drill.stop();
  const figures = drill.figures();
  tellFigures("Redis killed and back, empty", figures);
  expect(figures).toMatchObject({ lost: 0, doubled: 0, disordered: 0, overtaken: 0, gaps: {}, breaks: 0 });
  expect(figures.told).toEqual({ taken: figures.published, unheard: 0, unknown: 0, refused: {}, broken: {} });
});
