// Owns: how many messages one router process sequences and hands on a CPU-second: batches of publishes in over one
// publish stream, one gateway out. Run it: npx node bench/router-alone.ts [seconds] [messages a frame] [topics].
// The router is a real process; its CPU time is read from /proc, so that the client on the other core does not count.

import { create, toBinary } from "@bufbuild/protobuf";
import { type ClientStream, GrpcClient } from "#core/runtime/grpc.ts";
import { LinkService, type RouterFrameSchema, GatewayFrameSchema } from "#proto/earshot/internal/v1/link_pb.ts";
import {
  PublisherFrameSchema,
  RouterService,
  type SequencerFrameSchema,
} from "#proto/earshot/internal/v1/router_pb.ts";
import { handTopic, PEER_SECRET, RouterRig } from "../test/harness/router-rig.ts";
import { until } from "../test/harness/until.ts";
import { cpuSeconds } from "./cpu.ts";

const [seconds = 5, frameSize = 64, topics = 100] = process.argv.slice(2).map(Number);

/** Bytes of a payload, as in the design's table. */
const PAYLOAD = Buffer.from(JSON.stringify("x".repeat(126)));

/** Publishes without an answer: what keeps the router busy and no queue long. */
const UNANSWERED = 8_192;

function topicOf(index: number): string {
  return `shop.chat:${index % topics}`;
}

/** A link that counts records and confirms batches, and looks at nothing else. */
class CountingLink {
  records = 0;
  ready = false;
  readonly #stream: ClientStream<typeof GatewayFrameSchema, typeof RouterFrameSchema>;

  constructor(client: GrpcClient) {
    this.#stream = client.bidi(LinkService.method.open);
    this.#stream.on("error", () => undefined);
    this.#stream.on("data", ({ frame }) => {
      if (frame.case === "confirm") this.ready = true;
      if (frame.case !== "batch") return;
      this.records += frame.value.records.length;
      this.#send({ case: "batchConfirm", value: { number: frame.value.number } });
    });
    this.#send({ case: "hello", value: { protocolVersion: 1, incarnation: "g0", name: "gateway-0" } });
    const interests = Array.from({ length: topics }, (_, index) => ({ topicId: topicOf(index), count: 1 }));
    this.#send({ case: "interest", value: { number: 1n, interests, initialComplete: true } });
    setInterval(() => this.#send({ case: "heartbeat", value: {} }), 500).unref();
  }

  #send(frame: NonNullable<Parameters<typeof create<typeof GatewayFrameSchema>>[1]>["frame"]): void {
    if (frame !== undefined) this.#stream.write(create(GatewayFrameSchema, { frame }));
  }
}

/** One publish stream that keeps UNANSWERED publishes under way. */
class Pusher {
  answered = 0;
  #sent = 0;
  readonly #stream: ClientStream<typeof PublisherFrameSchema, typeof SequencerFrameSchema>;
  readonly #frame: Uint8Array;
  #running = true;

  constructor(client: GrpcClient) {
    this.#stream = client.bidi(RouterService.method.publishStream);
    this.#stream.on("error", () => undefined);
    this.#stream.on("data", ({ frame }) => {
      if (frame.case === "outcomes") this.answered += frame.value.outcomes.length;
      this.#push();
    });
    const hello = { protocolVersion: 1, incarnation: "edge", name: "edge-0" };
    this.#stream.write(create(PublisherFrameSchema, { frame: { case: "hello", value: hello } }));
    const publishes = Array.from({ length: frameSize }, (_, index) => ({
      id: BigInt(index + 1),
      topicId: topicOf(index),
      payload: PAYLOAD,
      publisherId: "bench",
    }));
    // Ids repeat from frame to frame: the router does not mind, and nothing here looks at them.
    this.#frame = toBinary(
      PublisherFrameSchema,
      create(PublisherFrameSchema, { frame: { case: "batch", value: { publishes } } }),
    );
  }

  stop(): void {
    this.#running = false;
  }

  #push(): void {
    while (this.#running && this.#sent - this.answered < UNANSWERED) {
      this.#sent += frameSize;
      this.#stream.write(this.#frame);
    }
  }
}

const rig = await RouterRig.start();
try {
  const router = await rig.spawn({ EARSHOT_LOG_LEVEL: "warn" });
  rig.topics([handTopic("shop.chat")]);
  rig.members([]);
  await rig.map([router]);
  const client = new GrpcClient(router.router.address, PEER_SECRET);
  const link = new CountingLink(client);
  await until(() => link.ready, "interest is confirmed");
  const pusher = new Pusher(new GrpcClient(router.router.address, PEER_SECRET));
  await until(() => pusher.answered > 200_000, "the router is warm", 60_000);
  const { pid } = router.child;
  if (pid === undefined) throw new Error("the router has no pid");
  const before = { records: link.records, cpu: cpuSeconds(pid), atMs: performance.now() };
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  const records = link.records - before.records;
  const cpu = cpuSeconds(pid) - before.cpu;
  const tookS = (performance.now() - before.atMs) / 1_000;
  pusher.stop();
  const lost = await router.metric("earshot_router_dropped_total", 'reason="link_overflow"');
  process.stdout.write(
    `${Math.round(records / cpu)} messages per router CPU-second (${Math.round(records / tookS)}/s, ` +
      `${Math.round((cpu / tookS) * 100)} % of a core, ${frameSize} a frame, ${topics} topics, ${lost} overflowed)\n`,
  );
} finally {
  await rig.close();
}
process.exit(0);
