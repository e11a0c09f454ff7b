import { describe, expect, it } from "vitest";
import type { SlowConsumer } from "#core/domain/topic.ts";
import { WEBSOCKET } from "../../gateway/fanout/encoding.ts";
import { Outbox } from "../../gateway/sessions/outbox.ts";
import { FakeSocket } from "../harness/fake-socket.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function outboxWith({ unsentBytes = 100, controlBytes = 50 } = {}) {
  const socket = new FakeSocket();
  const drops: Record<string, number> = {};
  const ends: string[] = [];
  const totals = {
    queuedBytes: 0,
    dropped: (policy: SlowConsumer, count: number) => {
      drops[policy] = (drops[policy] ?? 0) + count;
    },
  };
  const outbox = new Outbox(
    WEBSOCKET,
    socket,
    { limits: { unsentBytes, controlBytes }, totals },
    { gapFrame: (topicId, missed) => Buffer.from(`[gap ${topicId} ${missed}]`), tooSlow: (why) => ends.push(why) },
  );
  const say = (id: string, slowConsumer: SlowConsumer, bytes: number, letter: string): boolean =>
    outbox.message({ id, slowConsumer }, Buffer.from(letter.repeat(bytes)));
  return { socket, outbox, drops, ends, totals, say };
}

describe("an outbox whose socket keeps up", () => {
  it("writes at once and keeps nothing", () => {
    const { socket, outbox, say } = outboxWith();
    expect(say("t", "DropOldest", 60, "a")).toBe(true);
    outbox.control(Buffer.from("control"));
    expect(socket.text).toBe(`${"a".repeat(60)}control`);
    expect(outbox.queuedBytes).toBe(0);
  });

  it("writes a message larger than the cap, since nothing waits", () => {
    const { socket, say } = outboxWith();
    expect(say("t", "DropOldest", 500, "a")).toBe(true);
    expect(socket.text.length).toBe(500);
  });
});

describe("an outbox whose socket is behind", () => {
  it("takes messages up to the cap and drops one byte past it", () => {
    const { socket, outbox, say, drops } = outboxWith();
    socket.open = false;
    say("t", "DropNewest", 40, "a");
    expect(say("t", "DropNewest", 60, "b")).toBe(true);
    expect(say("t", "DropNewest", 1, "c")).toBe(false);
    expect(outbox.queuedBytes).toBe(60);
    expect(drops).toEqual({ DropNewest: 1 });
  });

  it("with DropOldest drops the topic's own oldest and says so in their place", async () => {
    const { socket, say } = outboxWith();
    socket.open = false;
    say("other", "DropOldest", 10, "o");
    say("t", "DropOldest", 40, "a");
    say("t", "DropOldest", 40, "b");
    expect(say("t", "DropOldest", 40, "c")).toBe(true);
    socket.open = true;
    await turn();
    expect(socket.text).toBe(`${"o".repeat(10)}[gap t 1]${"b".repeat(40)}${"c".repeat(40)}`);
  });

  it("with DropOldest never drops another topic's, but the new one where it has none of its own", async () => {
    const { socket, say, drops } = outboxWith();
    socket.open = false;
    say("other", "DropOldest", 10, "o");
    say("other", "DropOldest", 90, "p");
    expect(say("t", "DropOldest", 20, "a")).toBe(false);
    expect(say("t", "DropOldest", 20, "b")).toBe(false);
    expect(drops).toEqual({ DropOldest: 2 });
    socket.open = true;
    await turn();
    expect(socket.text).toBe(`${"o".repeat(10)}${"p".repeat(90)}[gap t 2]`);
  });

  it("with DropOldest keeps what it has where dropping all of it would not make room", async () => {
    const { socket, say } = outboxWith();
    socket.open = false;
    say("other", "DropOldest", 10, "o");
    say("other", "DropOldest", 70, "p");
    say("t", "DropOldest", 10, "a");
    expect(say("t", "DropOldest", 50, "b")).toBe(false);
    socket.open = true;
    await turn();
    expect(socket.text.endsWith(`${"a".repeat(10)}[gap t 1]`)).toBe(true);
  });

  it("with Disconnect ends the connection, once and not within the call", async () => {
    const { socket, say, ends } = outboxWith();
    socket.open = false;
    say("t", "Disconnect", 100, "a");
    expect(say("t", "Disconnect", 1, "b")).toBe(false);
    expect(say("t", "Disconnect", 1, "c")).toBe(false);
    expect(ends).toEqual([]);
    await turn();
    expect(ends).toEqual(["policy"]);
  });

  it("keeps control frames up to their own cap, and ends the connection one byte past it", async () => {
    const { socket, outbox, ends, say } = outboxWith();
    socket.open = false;
    say("t", "DropOldest", 100, "a");
    outbox.control(Buffer.alloc(50));
    await turn();
    expect(ends).toEqual([]);
    outbox.control(Buffer.alloc(1));
    await turn();
    expect(ends).toEqual(["control"]);
  });

  it("sends what waited before what comes later, and then writes straight again", async () => {
    const { socket, outbox, say } = outboxWith();
    socket.open = false;
    say("t", "DropOldest", 10, "a");
    say("t", "DropOldest", 10, "b");
    outbox.control(Buffer.from("control"));
    say("t", "DropOldest", 10, "c");
    expect(outbox.clear).toBe(false);
    socket.open = true;
    await turn();
    expect(socket.text).toBe(`${"a".repeat(10)}${"b".repeat(10)}control${"c".repeat(10)}`);
    expect(outbox.clear).toBe(true);
  });

  it("gives its last words to the socket when flushed, and forgets them when closed", () => {
    const flushed = outboxWith();
    flushed.socket.open = false;
    flushed.say("t", "DropOldest", 10, "a");
    flushed.say("t", "DropOldest", 10, "b");
    flushed.outbox.flushAll();
    flushed.socket.open = true;
    expect(flushed.socket.text).toBe("a".repeat(10) + "b".repeat(10));
    expect(flushed.totals.queuedBytes).toBe(0);

    const closed = outboxWith();
    closed.socket.open = false;
    closed.say("t", "DropOldest", 10, "a");
    closed.say("t", "DropOldest", 10, "b");
    closed.outbox.close();
    closed.socket.open = true;
    expect(closed.socket.text).toBe("a".repeat(10));
    expect(closed.totals.queuedBytes).toBe(0);
    expect(closed.say("t", "DropOldest", 10, "c")).toBe(false);
  });
});
