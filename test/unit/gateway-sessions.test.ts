import { describe, expect, it } from "vitest";
import { CONTROL_FLOOD_SECONDS, PING_INTERVAL_MS, PINGS_UNANSWERED_MAX } from "#core/domain/limits.ts";
import { ANONYMOUS } from "#core/domain/principal.ts";
import { Admission } from "../../gateway/sessions/admission.ts";
import { Pings, Taking } from "../../gateway/sessions/pings.ts";
import { tokenDeadlines } from "../../gateway/sessions/token-life.ts";
import { readUrlSubscriptions } from "../../gateway/sessions/url-subscriptions.ts";
import { Wheel } from "../../gateway/sessions/wheel.ts";
import { Flood } from "../../gateway/websocket/flood.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { user } from "../harness/principals.ts";

describe("the wheel", () => {
  it("runs each action once, never early and at most a tick late", () => {
    const clock = new HandClock();
    const wheel = new Wheel(clock);
    const ran: [number, number][] = [];
    const startMs = clock.monotonic();
    for (const delayMs of [0, 1, 99, 100, 101, 250, 5_000, 3_600_000]) {
      wheel.after(delayMs, () => ran.push([delayMs, clock.monotonic() - startMs]));
    }
    clock.advance(3_700_000);
    expect(ran.length).toBe(8);
    for (const [delayMs, atMs] of ran) {
      expect(atMs).toBeGreaterThanOrEqual(delayMs);
      expect(atMs).toBeLessThanOrEqual(delayMs + 200);
    }
    expect(wheel.size).toBe(0);
  });

  it("forgets what was cancelled, and keeps what is more than a day away", () => {
    const clock = new HandClock();
    const wheel = new Wheel(clock);
    let ran = 0;
    const cancelled = wheel.after(500, () => {
      ran += 1;
    });
    wheel.after(30 * 3_600_000, () => {
      ran += 1;
    });
    expect(wheel.slots).toBe(2);
    cancelled.cancel();
    expect(wheel.slots).toBe(1);
    clock.freeze(29 * 3_600_000);
    expect(ran).toBe(0);
    clock.freeze(3_600_000);
    clock.advance(1_000);
    expect(ran).toBe(1);
  });

  it("runs what an action plans, and stops with all when closed", async () => {
    const clock = new HandClock();
    const wheel = new Wheel(clock);
    let ran = 0;
    wheel.after(100, () => {
      ran += 1;
      wheel.after(100, () => {
        ran += 1;
      });
    });
    clock.advance(1_000);
    expect(ran).toBe(2);
    await wheel.close();
    expect(clock.pending).toBe(0);
  });
});

describe("pings", () => {
  const WEBSOCKET_PINGS = { intervalMs: PING_INTERVAL_MS, unansweredMax: PINGS_UNANSWERED_MAX };

  it("come every 30 s, and a client that answers none ends after 60 s more", () => {
    const clock = new HandClock();
    const pings = new Pings(clock, WEBSOCKET_PINGS);
    let pinged = 0;
    let silent = 0;
    pings.add({
      ping: () => {
        pinged += 1;
      },
      silent: () => {
        silent += 1;
      },
    });
    clock.advance(29_000);
    expect(pinged).toBe(0);
    clock.advance(1_000);
    expect(pinged).toBe(1);
    clock.advance(59_000);
    expect([pinged, silent]).toEqual([2, 0]);
    clock.advance(1_000);
    expect([pinged, silent]).toEqual([2, 1]);
    clock.advance(120_000);
    expect([pinged, silent]).toEqual([2, 1]);
  });

  it("go on for a client that answers", () => {
    const clock = new HandClock();
    const pings = new Pings(clock, WEBSOCKET_PINGS);
    let silent = 0;
    const ping = pings.add({
      ping: () => queueMicrotask(() => undefined),
      silent: () => {
        silent += 1;
      },
    });
    for (let minute = 0; minute < 10; minute++) {
      clock.advance(45_000);
      ping.heard();
    }
    expect(silent).toBe(0);
  });
});

describe("a stream, which answers nothing", () => {
  it("lives while nothing waits for its client, or some of it is taken", () => {
    const taking = new Taking();
    expect(taking.isAlive(0, 0)).toBe(true);
    expect(taking.isAlive(500, 100)).toBe(true);
    expect(taking.isAlive(900, 100)).toBe(false);
    expect(taking.isAlive(900, 101)).toBe(true);
    expect(taking.isAlive(0, 101)).toBe(true);
  });

  it("ends once four intervals have passed in which its client took nothing of what waits", () => {
    const clock = new HandClock();
    const pings = new Pings(clock, { intervalMs: PING_INTERVAL_MS / 2, unansweredMax: 2 * PINGS_UNANSWERED_MAX });
    const taking = new Taking();
    let [waiting, silent] = [0, 0];
    const ping = pings.add({
      ping: () => {
        if (taking.isAlive(waiting, 0)) ping.heard();
      },
      silent: () => {
        silent += 1;
      },
    });
    clock.advance(3_600_000);
    expect(silent).toBe(0);
    waiting = 1;
    clock.advance(60_000);
    expect(silent).toBe(0);
    clock.advance(15_000);
    expect(silent).toBe(1);
  });
});

describe("a client that talks too much", () => {
  it("is told once a second, and ended after ten seconds in a row", () => {
    const flood = new Flood(100, 256, 0);
    for (let frame = 0; frame < 256; frame++) expect(flood.judge(0)).toBe("pass");
    const verdicts: string[] = [];
    for (let second = 0; second <= CONTROL_FLOOD_SECONDS; second++) {
      for (let frame = 0; frame < 300; frame++) verdicts.push(flood.judge(second * 1_000 + frame * 3));
    }
    expect(verdicts.filter((verdict) => verdict === "tell").length).toBe(CONTROL_FLOOD_SECONDS);
    expect(verdicts.filter((verdict) => verdict === "end").length).toBe(1);
  });

  it("starts from nothing after a quiet second", () => {
    const flood = new Flood(1, 1, 0);
    const verdicts: string[] = [];
    for (let second = 0; second < 40; second++) {
      if (second % 8 === 7) continue;
      for (let frame = 0; frame < 5; frame++) verdicts.push(flood.judge(second * 1_000 + frame * 10));
    }
    expect(verdicts).not.toContain("end");
    expect(verdicts).toContain("tell");
  });
});

describe("admission", () => {
  const limits = { connectionsMax: 3, connectionsPerAddress: 2, connectionsPerPrincipal: 1, upgradesPerSecond: 100 };

  it("takes connections up to each limit and refuses one past it", () => {
    const refused: string[] = [];
    const admission = new Admission(limits, new HandClock(), { refused: (limit) => refused.push(limit) });
    admission.enter("a");
    admission.enter("a");
    expect(() => admission.enter("a")).toThrow(/an address holds at most 2/);
    admission.enter("b");
    expect(() => admission.enter("c")).toThrow(/as many connections as it may/);
    admission.leave("a");
    admission.enter("c");
    admission.enterUser("alice");
    expect(() => admission.enterUser("alice")).toThrow(/a user holds at most 1/);
    admission.leaveUser("alice");
    admission.enterUser("alice");
    expect(refused).toEqual(["address", "connections", "user"]);
  });

  const ignored = { refused: () => undefined };

  it("takes as many at once as two seconds allow, and one more only later", () => {
    const clock = new HandClock();
    const admission = new Admission({ ...limits, connectionsMax: 1_000, connectionsPerAddress: 0 }, clock, ignored);
    for (let count = 0; count < 200; count++) admission.enter("a");
    expect(() => admission.enter("a")).toThrow(/too many new connections/);
    clock.advance(10);
    admission.enter("a");
  });
});

describe("a token's deadlines", () => {
  const nowMs = 1_000_000;
  const expiring = (inMs: number) => ({ ...user("alice"), expiresAtMs: nowMs + inMs }) as const;

  it("warn 30 s before the end, or a tenth of what is left for short ones", () => {
    expect(tokenDeadlines(expiring(3_600_000), nowMs)).toEqual({ warnMs: 3_570_000, endMs: 3_600_000 });
    expect(tokenDeadlines(expiring(10_000), nowMs)).toEqual({ warnMs: 9_000, endMs: 10_000 });
    expect(tokenDeadlines(expiring(-5), nowMs)).toEqual({ warnMs: 0, endMs: 0 });
  });

  it("are none for who has no token", () => {
    expect(tokenDeadlines(ANONYMOUS, nowMs)).toBeUndefined();
  });
});

describe("topics in a URL", () => {
  it("are read with their flags, each once", () => {
    const query = new URLSearchParams("topic_id=a.b&topic_id=a.c&topic_id=a.b&presence=true&echo=false&_=1");
    expect(readUrlSubscriptions(query)).toEqual({ topicIds: ["a.b", "a.c"], presence: true, echo: false });
    expect(readUrlSubscriptions(new URLSearchParams())).toEqual({ topicIds: [], presence: false, echo: true });
  });

  it("are refused with a flag that is neither true nor false", () => {
    expect(() => readUrlSubscriptions(new URLSearchParams("presence=1"))).toThrow(/presence/);
    expect(() => readUrlSubscriptions(new URLSearchParams("echo=true&echo=true"))).toThrow(/echo/);
  });
});
