import { describe, expect, it } from "vitest";
import { parseTopicId } from "#core/domain/topic-id.ts";
import { GRPC, SSE, WEBSOCKET, type Encoding } from "../../gateway/fanout/encoding.ts";
import { FanOut } from "../../gateway/fanout/fan-out.ts";
import { Flight } from "../../gateway/fanout/flight.ts";
import { LocalTopic } from "../../gateway/fanout/local-topic.ts";
import { Notice } from "../../gateway/fanout/notice.ts";
import { ReceiptCount } from "../../gateway/fanout/receipts.ts";
import { Subscription } from "../../gateway/fanout/subscription.ts";
import { Outbox } from "../../gateway/sessions/outbox.ts";
import { FakeSocket } from "../harness/fake-socket.ts";
import { topicOf } from "../harness/http-door.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { until } from "../harness/until.ts";

function topic(id: string): LocalTopic {
  const parsed = parseTopicId(id);
  if (!parsed.ok) throw new Error(parsed.reason);
  return new LocalTopic(parsed.value, topicOf(parsed.value.topic));
}

let made = 0;

function listener(to: LocalTopic, options: { encoding?: Encoding; presence?: boolean; onWrite?: () => void } = {}) {
  const socket = new FakeSocket();
  const { encoding = WEBSOCKET, presence = false, onWrite } = options;
  if (onWrite !== undefined) {
    const write = socket.write.bind(socket);
    socket.write = (bytes, taken) => {
      onWrite();
      return write(bytes, taken);
    };
  }
  const outbox = new Outbox(
    encoding,
    socket,
    { limits: { unsentBytes: 1_000, controlBytes: 1_000 }, totals: { queuedBytes: 0, dropped: () => undefined } },
    { gapFrame: () => Buffer.from("gap"), tooSlow: () => undefined },
  );
  made += 1;
  const subscription = new Subscription("s1", to, { connectionId: `c${made}`, outbox }, { echo: true, presence });
  to.join(subscription);
  return { socket, subscription };
}

function flight(text: string, audience: "all" | "presence" = "all", skipped?: Subscription[], receipt?: ReceiptCount) {
  const result = new Flight((bytes) => Buffer.from(bytes), audience, skipped, receipt);
  result.add(Buffer.from(text));
  return result;
}

function fanOut() {
  const clock = new HandClock();
  const counts = { delivered: 0, slices: 0, handedOn: 0 };
  const metrics = {
    delivered: (count: number) => {
      counts.delivered += count;
    },
    slice: () => {
      counts.slices += 1;
    },
    handedOn: () => {
      counts.handedOn += 1;
    },
  };
  return { clock, counts, out: new FanOut(clock, metrics) };
}

/** Payloads of WebSocket frames below 126 bytes. */
function heard(socket: FakeSocket): string[] {
  const bytes = Buffer.concat(socket.received);
  const texts: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes[at + 1] ?? 0;
    texts.push(bytes.subarray(at + 2, at + 2 + length).toString());
    at += 2 + length;
  }
  return texts;
}

describe("fan-out", () => {
  it("hands a flight to everybody, each in its own encoding, with one write", () => {
    const { out, counts } = fanOut();
    const demo = topic("default.demo");
    const ws = listener(demo);
    const sse = listener(demo, { encoding: SSE });
    const grpc = listener(demo, { encoding: GRPC });
    const joined = flight("one");
    joined.add(Buffer.from("two"));
    out.put(demo, joined);
    out.run();
    expect(heard(ws.socket)).toEqual(["one", "two"]);
    expect(ws.socket.writes).toBe(1);
    expect(sse.socket.text).toBe("data: one\n\ndata: two\n\n");
    expect(sse.socket.writes).toBe(1);
    expect(grpc.socket.received.map(String)).toEqual(["one", "two"]);
    expect(counts.delivered).toBe(6);
  });

  it("hands presence to those who asked, and nothing to those who shall not hear it", () => {
    const { out } = fanOut();
    const demo = topic("default.demo");
    const plain = listener(demo);
    const present = listener(demo, { presence: true });
    out.put(demo, flight("who", "presence"));
    out.put(demo, flight("not plain", "all", [plain.subscription]));
    out.run();
    expect(heard(plain.socket)).toEqual([]);
    expect(heard(present.socket)).toEqual(["who", "not plain"]);
  });

  it("counts for a receipt what was written and what was dropped", () => {
    const { out } = fanOut();
    const demo = topic("default.demo");
    listener(demo);
    const slow = listener(demo);
    slow.socket.open = false;
    slow.subscription.outbox.message(demo, Buffer.alloc(1_000));
    const receipt = new ReceiptCount(7n);
    out.put(demo, flight("x", "all", undefined, receipt));
    out.run();
    expect(receipt).toMatchObject({ receiptId: 7n, written: 1, notWritten: { slow_consumer: 1 } });
  });

  it("counts for a receipt whoever keeps a message for later once, and nobody who hears it anyway or not at all", async () => {
    const { out } = fanOut();
    const demo = topic("default.demo");
    const [keeping, joining, skipped] = [listener(demo), listener(demo), listener(demo)];
    for (const { subscription } of [keeping, joining, skipped]) {
      demo.part(subscription);
      demo.introduce(subscription);
    }
    keeping.subscription.kept = [];
    skipped.subscription.kept = [];
    out.put(demo, flight("before"));
    out.inTurn(demo, () => {
      demo.introduced(joining.subscription);
      demo.join(joining.subscription);
    });
    const receipt = new ReceiptCount(7n);
    out.put(demo, flight("x", "all", [skipped.subscription], receipt));
    await until(() => heard(joining.socket).length === 1, "it is heard");
    expect(receipt).toMatchObject({ written: 2, notWritten: {} });
  });

  it("never drops presence of a connection that is behind, nor counts it as missed", async () => {
    const { out } = fanOut();
    const demo = topic("default.demo");
    const slow = listener(demo, { presence: true });
    slow.socket.open = false;
    slow.subscription.outbox.message(demo, Buffer.alloc(1_000));
    out.put(demo, flight("message"));
    out.put(demo, flight("who", "presence"));
    out.run();
    slow.socket.open = true;
    await until(() => slow.socket.text.endsWith("who"), "it takes what waited");
    expect(slow.socket.text).toMatch(/gap\W*who$/);
    expect(slow.socket.text).not.toContain("message");
  });

  it("tells of a flight that is measured once, when the last of its recipients was given it", async () => {
    const { out, clock, counts } = fanOut();
    const demo = topic("default.demo");
    for (let index = 0; index < 40; index++) listener(demo, { onWrite: () => clock.advance(0.1) });
    const measured = flight("a");
    measured.arrivedAtMs = clock.monotonic();
    out.put(demo, measured);
    out.put(demo, flight("b"));
    out.run();
    expect(counts.handedOn).toBe(0);
    await until(() => demo.items.length === 0, "both were handed on");
    expect(counts.handedOn).toBe(1);
  });

  it("ends a slice after 2 ms and goes on in the next turn, without skipping or repeating anybody", async () => {
    const { out, clock, counts } = fanOut();
    const demo = topic("default.demo");
    // Each write takes 0.1 ms: a slice serves 32 or so.
    const all = Array.from({ length: 200 }, () => listener(demo, { onWrite: () => clock.advance(0.1) }));
    let done = false;
    const sliced = flight("a");
    sliced.done.push(() => {
      done = true;
    });
    out.put(demo, sliced);
    out.run();
    expect(done).toBe(false);
    expect(all.filter(({ socket }) => socket.writes === 1).length).toBe(32);
    // In the middle of the walk one who was served leaves, one who was not leaves, and one comes.
    const left = [all[3], all[150]];
    for (const gone of left) if (gone !== undefined) demo.part(gone.subscription);
    await until(() => done, "everybody was served");
    expect(all[3]?.socket.writes).toBe(1);
    expect(all[150]?.socket.writes).toBe(0);
    for (const one of all) if (!left.includes(one)) expect(one.socket.writes).toBe(1);
    expect(counts.slices).toBeGreaterThan(5);
    expect(out.queuedBytes).toBe(0);
  });

  it("serves other topics between the slices of a hot one", async () => {
    const { out, clock } = fanOut();
    const hot = topic("default.hot");
    const cool = topic("default.cool");
    for (let index = 0; index < 500; index++) listener(hot, { onWrite: () => clock.advance(0.1) });
    let hotDone = false;
    let hotWasDone: boolean | undefined;
    listener(cool, {
      onWrite: () => {
        hotWasDone = hotDone;
      },
    });
    const big = flight("a");
    big.done.push(() => {
      hotDone = true;
    });
    out.put(hot, big);
    out.put(cool, flight("b"));
    out.run();
    await until(() => hotDone, "the hot topic is served");
    expect(hotWasDone).toBe(false);
  });

  it("keeps flights, notices and turns of a topic in order", async () => {
    const { out, clock } = fanOut();
    const demo = topic("default.demo");
    const first = listener(demo, { onWrite: () => clock.advance(3) });
    const late: FakeSocket[] = [];
    out.put(demo, flight("a"));
    out.put(demo, flight("b"));
    out.inTurn(demo, () => late.push(listener(demo).socket));
    out.put(demo, flight("c"));
    out.notice(
      demo,
      new Notice({ type: "gap", topicId: "default.demo", missed: 1, reason: "link_overflow" }, () => undefined),
    );
    out.run();
    await until(() => demo.items.length === 0, "all is done");
    const gap = '{"type":"gap","topic_id":"default.demo","missed":1,"reason":"link_overflow"}';
    expect(heard(first.socket)).toEqual(["a", "b", "c", gap]);
    expect(late.map(heard)).toEqual([["c", gap]]);
  });

  it("runs a turn at once when nothing waits", () => {
    const { out } = fanOut();
    const demo = topic("default.demo");
    let ran = false;
    out.inTurn(demo, () => {
      ran = true;
    });
    expect(ran).toBe(true);
  });

  it("keeps for one who is being introduced what comes meanwhile", () => {
    const { out } = fanOut();
    const demo = topic("default.demo");
    const { subscription, socket } = listener(demo);
    demo.part(subscription);
    subscription.kept = [];
    demo.introduce(subscription);
    out.put(demo, flight("a"));
    out.run();
    expect(socket.writes).toBe(0);
    expect(subscription.kept.length).toBe(1);
  });
});
