// A whole router but for its process and its sockets: what a publisher and a gateway hear from it while it leaves.

import { EventEmitter } from "node:events";
import { create, type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import { secretIdentity } from "#core/runtime/peer-identity.ts";
import { GatewayFrameSchema, RouterFrameSchema } from "#proto/earshot/internal/v1/link_pb.ts";
import { PublisherFrameSchema, SequencerFrameSchema } from "#proto/earshot/internal/v1/router_pb.ts";
import { HANDING_ON_MS_MAX } from "../../router/handing-on.ts";
import type { LinkCall } from "../../router/links/link.ts";
import type { PublishCall } from "../../router/publish/sequencer-stream.ts";
import { Router } from "../../router/router.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { HandMap, routerAt } from "../harness/hand-map.ts";
import { handTopic } from "../harness/router-rig.ts";

/** A stream that takes everything, and keeps what it was told. */
class HandCall<Out extends DescMessage> extends EventEmitter {
  readonly told: MessageShape<Out>[] = [];
  readonly #out: Out;

  constructor(out: Out) {
    super();
    this.#out = out;
  }

  write(bytes: Uint8Array, taken?: () => void): boolean {
    this.told.push(fromBinary(this.#out, bytes));
    if (taken !== undefined) queueMicrotask(taken);
    return true;
  }

  end(): void {
    // Nothing is behind it.
  }
}

const NUMBERS = { 1: 1n, 2: 2n, 3: 3n };

let clock: HandClock;
let router: Router;
let link: HandCall<typeof RouterFrameSchema>;
let edge: HandCall<typeof SequencerFrameSchema>;

beforeEach(() => {
  clock = new HandClock();
  const map = new HandMap();
  const topic = handTopic("shop.chat");
  router = new Router({
    self: { incarnation: "me", name: "router-0", node: "", zone: "" },
    fleet: {
      topic: () => topic,
      map: map.map,
      onMap: (listener) => map.onMap(listener),
      onMembers: () => () => undefined,
    },
    identity: secretIdentity(""),
    hotSubscriptions: 1_000,
    clock,
    log: createLog("silent", {}),
    registry: new Registry(),
    reportChanged: () => undefined,
    mapApplied: () => undefined,
  });
  map.set([routerAt("me")]);
  link = new HandCall(RouterFrameSchema);
  router.links.handlers.open(link as unknown as LinkCall);
  gatewaySays({ case: "hello", value: { protocolVersion: 1, incarnation: "g0", name: "gateway-0" } });
  const interests = [{ topicId: "shop.chat", count: 1 }];
  gatewaySays({ case: "interest", value: { number: 1n, interests, initialComplete: true } });
  edge = new HandCall(SequencerFrameSchema);
  router.publishes.handlers.publishStream(edge as unknown as PublishCall);
  edgeSays({ case: "hello", value: { protocolVersion: 1, incarnation: "edge", name: "edge" } });
});

afterEach(() => router.close());

type GatewayFrame = NonNullable<Parameters<typeof create<typeof GatewayFrameSchema>>[1]>["frame"];
type EdgeFrame = NonNullable<Parameters<typeof create<typeof PublisherFrameSchema>>[1]>["frame"];

function gatewaySays(frame: GatewayFrame & {}): void {
  link.emit("data", create(GatewayFrameSchema, { frame }));
}

function edgeSays(frame: EdgeFrame & {}): void {
  edge.emit("data", create(PublisherFrameSchema, { frame }));
}

function confirm(batch: keyof typeof NUMBERS): void {
  gatewaySays({ case: "batchConfirm", value: { number: NUMBERS[batch] } });
}

/** One publish; time passes with it, so that each has its own. */
async function publish(id: keyof typeof NUMBERS): Promise<void> {
  clock.advance(1);
  const publishes = [{ id: NUMBERS[id], topicId: "shop.chat", payload: Buffer.from("1") }];
  edgeSays({ case: "batch", value: { publishes } });
  await settle();
}

/** Everything that needs no further word from outside has happened. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** What the edge was told of: ids of answers, and that the router leaves. */
function toldEdge(): (number | "draining")[] {
  return edge.told.flatMap(({ frame }): (number | "draining")[] => {
    if (frame.case === "draining") return ["draining"];
    return frame.case === "outcomes" ? frame.value.outcomes.map(({ id }) => Number(id)) : [];
  });
}

test("a router says that it leaves only when gateways have handed on what it answered before", async () => {
  await publish(1);
  expect(toldEdge()).toEqual([1]);
  const announced = router.announceDraining();
  await settle();
  expect([toldEdge(), router.draining]).toEqual([[1], false]);
  confirm(1);
  await announced;
  expect([toldEdge(), router.draining]).toEqual([[1, "draining"], true]);
});

test("with nothing under way it says so at once", async () => {
  await router.announceDraining();
  expect(toldEdge()).toEqual(["draining"]);
});

test("what comes while it leaves is answered in order, each when it was handed on", async () => {
  await router.announceDraining();
  await publish(1);
  await publish(2);
  expect(toldEdge()).toEqual(["draining"]);
  confirm(1);
  await settle();
  expect(toldEdge()).toEqual(["draining", 1]);
  await publish(3);
  confirm(2);
  await settle();
  expect(toldEdge()).toEqual(["draining", 1, 2]);
  confirm(3);
  await settle();
  expect(toldEdge()).toEqual(["draining", 1, 2, 3]);
});

test("a gateway that confirms nothing keeps nobody for longer than a publisher waits", async () => {
  await publish(1);
  const announced = router.announceDraining();
  await publish(2);
  clock.advance(HANDING_ON_MS_MAX - 2);
  await settle();
  expect(toldEdge()).toEqual([1]);
  clock.advance(1);
  await announced;
  expect(toldEdge()).toEqual([1, "draining"]);
  clock.advance(1);
  await settle();
  expect(toldEdge()).toEqual([1, "draining", 2]);
});

test("a gateway that is gone keeps nobody", async () => {
  await publish(1);
  const announced = router.announceDraining();
  await publish(2);
  link.emit("cancelled");
  await announced;
  await settle();
  expect(new Set(toldEdge())).toEqual(new Set([1, "draining", 2]));
});
