// What delivery promises, held over many random rounds at two real gateways: after `subscribed` every publish accepted
// later arrives; a publisher's messages to a topic keep their order over every door; everybody hears the same order, each
// message once; a receipt is exactly what was heard.

import { create } from "@bufbuild/protobuf";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { GrpcClient } from "#core/runtime/grpc.ts";
import { PublisherService, PublishStreamRequestSchema } from "#proto/earshot/v1/publisher_pb.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import type { Frame } from "../harness/frames.ts";
import { GrpcEars, grpcPublish, openGrpc } from "../harness/grpc-ears.ts";
import { call, publish } from "../harness/http.ts";
import { manifest } from "../harness/manifest.ts";
import { openSse, SseClient } from "../harness/sse.ts";
import { until } from "../harness/until.ts";
import { openWebSocket, type WebSocketClient } from "../harness/websocket.ts";

const GATEWAYS = ["gateway-0", "gateway-1"] as const;

let fleet: TestFleet;
const closers: (() => unknown)[] = [];

beforeAll(async () => {
  const open = "permissions: Public, channels: Dynamic, limits: {maxPublishesPerSecond: 0}";
  fleet = await startFleet({
    topics: [manifest("default.demo", open), manifest("shop.room", `${open}, presence: Members`)],
    env: { EARSHOT_CONTROL_MESSAGES_PER_SECOND: "1000000", EARSHOT_CONTROL_MESSAGES_BURST: "1000000" },
  });
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});
afterAll(() => fleet?.close());

let topics = 0;
const fresh = (topic = "default.demo"): string => `${topic}:${(topics += 1)}`;

/** A generator of numbers from 0 to 1 that a seed repeats (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

async function webSocket(
  gateway: string,
  options: { topics?: string[]; query?: string } = {},
): Promise<WebSocketClient> {
  const client = await openWebSocket(fleet.ws(gateway), options);
  closers.push(() => client.close());
  return client;
}

describe("after subscribed", () => {
  const ROUNDS = 500;
  const WORKERS = 10;
  const seed = Date.now() % 1_000_000;

  test(`a publish at once, from any door of any gateway, is heard: ${ROUNDS} rounds, seed ${seed}`, async () => {
    const random = randomOf(seed);
    const any = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
    const grpc = Object.fromEntries(GATEWAYS.map((gateway) => [gateway, new GrpcClient(fleet.grpc(gateway))]));
    closers.push(() => Object.values(grpc).forEach((client) => client.close()));
    const speakers = Object.fromEntries(
      await Promise.all(GATEWAYS.map(async (gateway) => [gateway, await webSocket(gateway)] as const)),
    );
    const missed: string[] = [];

    const speak = async (topic: string, payload: string): Promise<unknown> => {
      const gateway = any(GATEWAYS);
      switch (any(["http", "grpc", "webSocket"] as const)) {
        case "http":
          return (await publish(fleet.http(gateway), topic, payload)).json["delivered_to"];
        case "grpc": {
          const content = { case: "payload", value: JSON.stringify(payload) } as const;
          const client = grpc[gateway] as GrpcClient;
          return Number((await grpcPublish(client, { topicId: topic, content })).deliveredTo);
        }
        case "webSocket": {
          const speaker = speakers[gateway] as WebSocketClient;
          speaker.send({ type: "publish", id: payload, topic_id: topic, payload });
          return (await speaker.frames.next({ type: "published", id: payload }))["delivered_to"];
        }
      }
    };

    const round = async (number: number, connection: WebSocketClient): Promise<void> => {
      // Some topics are new, some were spoken on before, with or without anybody who listened.
      const topic = random() < 0.5 ? fresh() : `default.demo:shared-${Math.floor(random() * 20)}`;
      const payload = `round ${number}`;
      const door = any(["frame", "frame", "url", "sse", "grpc"] as const);
      const gateway = any(GATEWAYS);
      // On a machine that is too busy the first router may confirm late, which is told.
      const isIt = (frame: Frame): boolean =>
        frame["payload"] === payload || (frame["topic_id"] === topic && frame["reason"] === "late_interest");
      let heard: () => boolean;
      let leave: () => unknown;
      switch (door) {
        case "frame": {
          const id = `s${number}`;
          connection.send({ type: "subscribe", id, topic_id: topic, presence: random() < 0.3 });
          await connection.frames.next({ type: "subscribed", id });
          heard = () => connection.frames.all.some(isIt);
          leave = () => connection.send({ type: "unsubscribe", topic_id: topic });
          break;
        }
        case "url": {
          const client = await openWebSocket(fleet.ws(gateway), { topics: [topic] });
          heard = () => client.frames.all.some(isIt);
          leave = () => client.close();
          break;
        }
        case "sse": {
          const client = await openSse(fleet.http(gateway), topic);
          heard = () => client.frames.all.some(isIt);
          leave = () => client.close();
          break;
        }
        case "grpc": {
          const client = await openGrpc(fleet.grpc(gateway), [topic]);
          heard = () =>
            client.of("gap").length > 0 ||
            client.of("message").some(({ content }) => content.value === JSON.stringify(payload));
          leave = () => client.close();
          break;
        }
      }
      const deliveredTo = await speak(topic, payload);
      await until(heard, "it is heard", 5_000).catch(() => {
        missed.push(`${payload}: ${topic} by ${door} at ${gateway}, delivered_to ${String(deliveredTo)}`);
      });
      await leave();
    };

    await Promise.all(
      Array.from({ length: WORKERS }, async (_, worker) => {
        const connection = await webSocket(any(GATEWAYS));
        for (let number = worker; number < ROUNDS; number += WORKERS) await round(number, connection);
        const gaps = connection.frames.of("gap").filter((frame) => frame["reason"] !== "late_interest");
        expect(gaps).toEqual([]);
      }),
    );
    expect(missed).toEqual([]);
  });
});

describe("subscribing and unsubscribing without waiting", () => {
  const seed = Date.now() % 1_000_000;

  test(`answers each request once, and messages are those between the answers, without a hole: seed ${seed}`, async () => {
    const random = randomOf(seed);
    const ids = Array.from({ length: 4 }, (_, index) => fresh(index % 2 === 0 ? "default.demo" : "shop.room"));
    const FRAMES = 150;
    const enough = new AbortController();
    const speaking = GATEWAYS.map(async (gateway) => {
      for (let count = 0; !enough.signal.aborted; count++)
        await publish(fleet.http(gateway), ids[count % 4] ?? "", count);
    });
    const clients = await Promise.all(Array.from({ length: 8 }, (_, index) => webSocket(GATEWAYS[index % 2] ?? "")));
    const wanted = clients.map(() => new Set<string>());
    await Promise.all(
      clients.map(async (client, index) => {
        for (let number = 0; number < FRAMES; number++) {
          const topic = ids[Math.floor(random() * ids.length)] ?? "";
          const type = random() < 0.6 ? "subscribe" : "unsubscribe";
          client.send({
            type,
            id: String(number),
            topic_id: topic,
            ...(type === "subscribe" ? { presence: random() < 0.5 } : {}),
          });
          if (type === "subscribe") wanted[index]?.add(topic);
          else wanted[index]?.delete(topic);
          if (random() < 0.2) await new Promise((resolve) => setTimeout(resolve, random() * 60));
        }
      }),
    );
    for (const { frames } of clients) {
      const answers = (): unknown[] =>
        frames.all.filter((frame) => frame["id"] !== undefined).map((frame) => frame["id"]);
      await until(() => answers().length >= FRAMES, "every request is answered");
      expect(answers().toSorted((a, b) => Number(a) - Number(b))).toEqual(
        Array.from({ length: FRAMES }, (_, id) => String(id)),
      );
    }
    enough.abort();
    await Promise.all(speaking);
    for (const topic of ids) {
      const { json } = await publish(fleet.http(), topic, "end");
      expect(json).toMatchObject({ delivered_to: wanted.filter((topicIds) => topicIds.has(topic)).length });
    }
    for (const [index, { frames }] of clients.entries()) {
      await until(
        () => frames.all.filter((frame) => frame["payload"] === "end").length === wanted[index]?.size,
        "all heard",
      );
      const next = new Map<unknown, number>();
      for (const [at, frame] of frames.all.entries()) {
        const topic = frame["topic_id"];
        const around = frames.all.slice(0, at + 1).filter((one) => one["topic_id"] === topic);
        const what = JSON.stringify(around.slice(-6));
        if (frame.type === "unsubscribed") next.delete(topic);
        // Another answer to the same subscription changes nothing; a late first router is told as a gap.
        if (frame.type === "subscribed" && !next.has(topic))
          next.set(topic, frame["seq"] === null ? NaN : Number(frame["seq"]) + 1);
        if (frame.type !== "message") continue;
        expect(next.has(topic), what).toBe(true);
        const expected = next.get(topic) ?? NaN;
        if (!Number.isNaN(expected)) expect(frame["seq"], what).toBe(expected);
        next.set(topic, Number(frame["seq"]) + 1);
      }
    }
  });
});

describe("order", () => {
  test("of each publisher holds over every door, mixed; everybody hears one order, each message once", async () => {
    const topic = fresh();
    const COUNT = 300;
    const ears = [
      await webSocket("gateway-0", { topics: [topic] }),
      await webSocket("gateway-1", { topics: [topic] }),
      await openSse(fleet.http("gateway-1"), topic),
    ];
    const grpcEars = await openGrpc(fleet.grpc("gateway-0"), [topic]);
    closers.push(
      () => grpcEars.close(),
      () => (ears[2] as SseClient).close(),
    );
    const payloadOf = (publisher: string, index: number): string => `${publisher} ${index}`;

    const overWebSocket = async (gateway: string): Promise<void> => {
      const speaker = await webSocket(gateway);
      for (let index = 0; index < COUNT; index++) {
        speaker.send({ type: "publish", topic_id: topic, payload: payloadOf(`ws@${gateway}`, index) });
        if (index % 10 === 9) await new Promise((resolve) => setImmediate(resolve));
      }
      await until(() => speaker.frames.of("published").length === COUNT, "all are answered");
      const ids = speaker.frames.of("published").map((frame) => Number(String(frame["message_id"]).split("-")[1]));
      expect(ids).toEqual(ids.toSorted((a, b) => a - b));
    };
    const overHttp = async (gateway: string): Promise<void> => {
      for (let index = 0; index < COUNT; index++) {
        expect((await publish(fleet.http(gateway), topic, payloadOf(`http@${gateway}`, index))).status).toBe(200);
      }
    };
    const overBatches = async (gateway: string): Promise<void> => {
      for (let start = 0; start < COUNT; start += 50) {
        const messages = Array.from({ length: 50 }, (_, index) => ({
          topic_id: topic,
          payload: payloadOf(`batch@${gateway}`, start + index),
        }));
        await call(fleet.http(gateway), "POST", "/api/v1/publish", { body: { messages } });
      }
    };
    const overGrpc = async (gateway: string): Promise<void> => {
      const client = new GrpcClient(fleet.grpc(gateway));
      closers.push(() => client.close());
      const stream = client.bidi(PublisherService.method.publishStream);
      let results = 0;
      stream.on("data", ({ outcome }) => {
        expect(outcome.case).toBe("result");
        results += 1;
      });
      for (let index = 0; index < COUNT; index++) {
        const value = JSON.stringify(payloadOf(`grpc@${gateway}`, index));
        const message = { topicId: topic, content: { case: "payload", value } as const };
        stream.write(create(PublishStreamRequestSchema, { id: BigInt(index), message }));
        if (index % 10 === 9) await new Promise((resolve) => setImmediate(resolve));
      }
      stream.end();
      await until(() => results === COUNT, "all have results");
    };

    const doors = [overWebSocket, overHttp, overBatches, overGrpc];
    await Promise.all(GATEWAYS.flatMap((gateway) => doors.map((door) => door(gateway))));
    const total = COUNT * doors.length * GATEWAYS.length;
    for (const { frames } of ears) await until(() => frames.of("message").length >= total, "all were heard");
    await until(() => grpcEars.of("message").length >= total, "gRPC heard all");

    const orders = ears.map(({ frames }) => frames.of("message").map((frame) => frame["message_id"] as string));
    const [first = []] = orders;
    expect(new Set(first).size).toBe(total);
    for (const order of orders) expect(order).toEqual(first);
    expect(grpcEars.of("message").map(({ messageId }) => messageId)).toEqual(first);
    const heard = ears[0]?.frames.of("message") ?? [];
    const seqs = heard.map((frame) => frame["seq"] as number);
    expect(seqs).toEqual(seqs.map((_, index) => (seqs[0] ?? 0) + index));
    const next = new Map<string, number>();
    for (const { payload } of heard as (Frame & { payload: string })[]) {
      const [publisher = "", index] = payload.split(" ");
      expect(Number(index), publisher).toBe(next.get(publisher) ?? 0);
      next.set(publisher, Number(index) + 1);
    }
    for (const { frames } of ears) expect(frames.of("gap")).toEqual([]);
  });
});

/** First presence frames: each lists the members. */
function listsOf(client: WebSocketClient): number {
  return client.frames.of("presence").filter((frame) => frame["subscribers"] !== undefined).length;
}

describe("counts", () => {
  test("a receipt is exactly what was heard, while others come and go", async () => {
    const topic = fresh("shop.room");
    const stable: (WebSocketClient | SseClient)[] = [];
    for (const gateway of GATEWAYS) {
      for (let index = 0; index < 3; index++) stable.push(await webSocket(gateway, { topics: [topic] }));
      const sse = await openSse(fleet.http(gateway), topic);
      closers.push(() => sse.close());
      stable.push(sse);
    }
    const grpc = new GrpcEars(fleet.grpc("gateway-1"), [topic]);
    closers.push(() => grpc.close());
    await grpc.next("subscribed");
    const coming: WebSocketClient[] = [];
    for (let index = 0; index < 6; index++) coming.push(await webSocket(GATEWAYS[index % 2] ?? ""));
    const enough = new AbortController();
    const churn = coming.map(async (client, index) => {
      const presence = index % 2 === 0;
      for (let round = 0; !enough.signal.aborted; round++) {
        const id = String(round);
        client.send({ type: "subscribe", id, topic_id: topic, presence });
        await client.frames.next({ type: "subscribed", id });
        // Until it knows who is there, messages are kept for it.
        if (presence) await until(() => listsOf(client) === round + 1, "it knows who is there");
        if (round % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
        client.send({ type: "unsubscribe", id, topic_id: topic });
        await client.frames.next({ type: "unsubscribed", id });
      }
    });
    const COUNT = 150;
    const receipts: number[] = [];
    for (let index = 0; index < COUNT; index++) {
      const body = { payload: index, receipt: "gateway" };
      const { json } = await call(fleet.http(GATEWAYS[index % 2]), "POST", `/api/v1/topics/${topic}/publish`, { body });
      expect(json).toMatchObject({ exact: true, dropped: false });
      receipts.push(json["delivered_to"] as number);
    }
    enough.abort();
    await Promise.all(churn);
    for (const { frames } of stable) await frames.next({ payload: COUNT - 1 });
    await until(() => grpc.of("message").length === COUNT, "gRPC heard all");
    const heard = receipts.map(() => 1);
    for (const { frames } of [...stable, ...coming]) {
      for (const frame of frames.of("message"))
        heard[frame["payload"] as number] = (heard[frame["payload"] as number] ?? 0) + 1;
    }
    expect(receipts).toEqual(heard);
    expect(Math.max(...receipts)).toBeGreaterThan(stable.length + 1);
  });

  test("delivered_to without a receipt is what is subscribed, once nobody comes or goes: tabs, doors, gateways", async () => {
    const topic = fresh();
    const clients: { close(): unknown }[] = [];
    const tell = async (): Promise<unknown> => (await publish(fleet.http("gateway-1"), topic, 1)).json["delivered_to"];
    for (let count = 1; count <= 8; count++) {
      const gateway = GATEWAYS[count % 2] ?? "";
      const doors = [
        () => openWebSocket(fleet.ws(gateway), { topics: [topic] }),
        () => openSse(fleet.http(gateway), topic),
        () => openGrpc(fleet.grpc(gateway), [topic]),
      ];
      const client = await doors[count % 3]?.();
      if (client !== undefined) clients.push(client);
      expect(await tell()).toBe(count);
    }
    for (let count = 7; count >= 0; count--) {
      await clients.pop()?.close();
      await until(async () => (await tell()) === count, `${count} are left`);
    }
  });
});
