// What the page at `/` decides, without a browser. The page itself is tried in test/browser.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CLOSES } from "#core/domain/closes.ts";
import { comebackOf } from "../../gateway/http/page/client/comeback.ts";
import { Failover, repeatedText, reportOf } from "../../gateway/http/page/client/failover.ts";
import { payloadText, publishFrame, typedPayload } from "../../gateway/http/page/client/frames.ts";
import { changed, countedHere, NOBODY } from "../../gateway/http/page/client/members.ts";
import { snippetOf } from "../../gateway/http/page/client/snippets.ts";
import { TickLedger } from "../../gateway/http/page/client/tick-ledger.ts";

describe("a payload", () => {
  const envelope = (publisher: string, payload: string, rest = ""): string =>
    `{"type":"message","topic_id":"a.b","message_id":"x-1","seq":1,"publisher_id":${JSON.stringify(publisher)},"timestamp":"2026-11-24T12:20:15.688Z","payload":${payload}${rest}}`;

  test("is the text that came, digit for digit", () => {
    const payload = '{"n":12345678901234567890,"x":1.0,"n":2, "__proto__":[]}';
    expect(payloadText(envelope("bob", payload))).toBe(payload);
  });

  test("is found beside a publisher who is called like a field, and before fields that are added one day", () => {
    expect(payloadText(envelope('"x","payload":1,', '"]},\\"{"', ',"encoding":"base64","more":{"payload":3}'))).toBe(
      '"]},\\"{"',
    );
  });

  test("is found whatever it is", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.jsonValue(), fc.boolean(), (publisher, value, added) => {
        const payload = JSON.stringify(value);
        expect(payloadText(envelope(publisher, payload, added ? ',"added":[{"a":"}"}]' : ""))).toBe(payload);
      }),
    );
  });

  test("goes out as it was typed where that is JSON, else as a string", () => {
    expect(typedPayload("12345678901234567890")).toEqual({ text: "12345678901234567890", isJson: true });
    expect(typedPayload('{"a": 1.0}')).toEqual({ text: '{"a": 1.0}', isJson: true });
    expect(typedPayload("{a: 1}")).toEqual({ text: '"{a: 1}"', isJson: false });
    expect(typedPayload("")).toEqual({ text: '""', isJson: false });
    expect(publishFrame("p1", "a.b:c", "1.0")).toBe('{"type":"publish","id":"p1","topic_id":"a.b:c","payload":1.0}');
  });
});

describe("after a close", () => {
  const close = { toldDelayMs: undefined, failures: 0, random: 0.5 };

  test.each(Object.entries(CLOSES))("%s the page does what the table says", (code, { comeBack, meaning }) => {
    const comeback = comebackOf({ ...close, code: Number(code) });
    expect(comeback.why).toContain(meaning);
    expect(comeback.kind).toBe(comeBack === "no" || comeBack === "with_new_token" ? "never" : "after");
  });

  test("the delay of a `reconnect` before it counts, and one that is over is none", () => {
    expect(comebackOf({ ...close, code: 1012, toldDelayMs: 1_234 })).toMatchObject({ delayMs: 1_234 });
    expect(comebackOf({ ...close, code: 1012, toldDelayMs: -5 })).toMatchObject({ delayMs: 0 });
    expect(comebackOf({ ...close, code: 4401, toldDelayMs: 1_234 }).kind).toBe("never");
  });

  test("a broken connection is waited for at random below a bound that doubles from 1 s to 30 s", () => {
    const delays = (random: number) =>
      [0, 1, 2, 3, 4, 5, 6, 99].map((failures) => comebackOf({ ...close, code: 1006, failures, random }));
    expect(delays(0.5).map((comeback) => "delayMs" in comeback && comeback.delayMs)).toEqual([
      500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000,
    ]);
    for (const comeback of delays(0)) expect(comeback).toMatchObject({ kind: "after", delayMs: 0 });
  });
});

describe("who is here", () => {
  const frame = { type: "presence", topic_id: "a.b" } as const;

  test("is a set: a list replaces it, changes go into it", () => {
    const subscribers = [{ user_id: "alice", info: { name: "Alice" } }, { user_id: "bob" }];
    const first = changed(NOBODY, { ...frame, count: 2, connections: 3, subscribers });
    const joined = [{ user_id: "bob" }, { user_id: "carol" }];
    const second = changed(first, { ...frame, count: 2, connections: 2, joined, left: [{ user_id: "alice" }] });
    expect([...first.members.keys()]).toEqual(["alice", "bob"]);
    expect([...second.members.keys()]).toEqual(["bob", "carol"]);
    const third = changed(second, { ...frame, count: 1, connections: 1, subscribers: [{ user_id: "dora" }] });
    expect([...third.members.keys()]).toEqual(["dora"]);
  });

  test("is counted in words", () => {
    expect(countedHere(NOBODY)).toBe("not known yet");
    expect(countedHere(changed(NOBODY, { ...frame, connections: 1 }))).toBe("1 connection");
    expect(countedHere(changed(NOBODY, { ...frame, count: 1_000, connections: 2_000 }))).toBe(
      "1,000 users, 2,000 connections",
    );
  });

  test("stays as it was, and is said to be stale, while the store does not answer", () => {
    const first = changed(NOBODY, { ...frame, count: 1, connections: 1, subscribers: [{ user_id: "alice" }] });
    const stale = changed(first, { ...frame, stale: true });
    expect(stale).toMatchObject({ stale: true, count: 1 });
    expect([...stale.members.keys()]).toEqual(["alice"]);
    expect(changed(stale, { ...frame, subscribers: [] }).stale).toBe(false);
  });
});

describe("the ticker's books", () => {
  test("a number is waited for, and heard once", () => {
    const ledger = new TickLedger();
    ledger.spoken(1, 0);
    ledger.spoken(2, 25);
    expect(ledger.hear(1, 3)).toBe(3);
    expect(ledger.oldestWaiting).toBe(2);
    expect(ledger.counts).toEqual({ heard: 1, lost: 0, doubled: 0, repeated: 0, waiting: 1 });
  });

  test("a number that is heard again is doubled", () => {
    const ledger = new TickLedger();
    ledger.spoken(1, 0);
    ledger.hear(1, 3);
    expect(ledger.hear(1, 4)).toBeUndefined();
    expect(ledger.counts).toMatchObject({ heard: 1, doubled: 1 });
  });

  test("a number that does not come is lost after a while", () => {
    const ledger = new TickLedger();
    ledger.spoken(1, 0);
    ledger.spoken(2, 25);
    ledger.settle(5_999);
    expect(ledger.counts).toMatchObject({ lost: 0, waiting: 2 });
    ledger.settle(6_000);
    expect(ledger.counts).toMatchObject({ lost: 1, waiting: 1 });
    expect(ledger.oldestWaiting).toBe(2);
  });

  test("a number that is spoken again counts once, and is doubled if both are heard", () => {
    const ledger = new TickLedger();
    ledger.spoken(1, 0);
    ledger.repeat();
    ledger.hear(1, 60);
    expect(ledger.counts).toMatchObject({ heard: 1, doubled: 0, repeated: 1 });
    ledger.hear(1, 61);
    expect(ledger.counts).toMatchObject({ heard: 1, doubled: 1, lost: 0 });
  });

  test("a lost number that comes after all is heard, and not doubled", () => {
    const ledger = new TickLedger();
    ledger.spoken(1, 0);
    ledger.settle(10_000);
    ledger.hear(1, 10_001);
    expect(ledger.counts).toEqual({ heard: 1, lost: 0, doubled: 0, repeated: 0, waiting: 0 });
  });
});

describe("a killed router", () => {
  const killed = { name: "router-1", incarnation: "old", pid: 7 };

  /** With plain spaces. */
  const plainReport = (failover: Failover): string => reportOf(failover.state).replaceAll("\u00a0", " ");

  function failoverAt(lastHeardAtMs: number) {
    const ledger = new TickLedger();
    return { ledger, failover: new Failover(killed, ledger, { counts: ledger.counts, lastHeardAtMs }) };
  }

  test("is over with the first message of another router, counted from the last one of its own", () => {
    const { ledger, failover } = failoverAt(1_000);
    ledger.spoken(5, 1_010);
    failover.hear({ atMs: 1_020, incarnation: "old", tookMs: 1, nextNumber: 6 });
    expect(plainReport(failover)).toBe("No message since");
    failover.hear({ atMs: 1_083, incarnation: "new", tookMs: 1, nextNumber: 8 });
    failover.hear({ atMs: 1_100, incarnation: "third", tookMs: 1, nextNumber: 9 });
    failover.look(1_100);
    expect(plainReport(failover)).toBe("Next message after 63 ms · counting what was lost…");
    ledger.hear(5, 1_101);
    failover.look(2_082);
    expect(failover.state.kind).toBe("counting");
    failover.look(2_083);
    expect(plainReport(failover)).toBe("Next message after 63 ms · 0 lost · 0 doubled");
  });

  test("is not waited for because of numbers that were spoken after it", () => {
    const { ledger, failover } = failoverAt(1_000);
    failover.hear({ atMs: 1_050, incarnation: "new", tookMs: 1, nextNumber: 8 });
    ledger.spoken(8, 2_049);
    failover.look(2_050);
    expect(failover.state.kind).toBe("over");
  });

  test("took what it says it took, and says what was spoken again", () => {
    const { ledger, failover } = failoverAt(0);
    ledger.spoken(1, 0);
    ledger.spoken(2, 0);
    ledger.repeat();
    failover.hear({ atMs: 70, incarnation: "new", tookMs: 1, nextNumber: 3 });
    ledger.hear(1, 80);
    failover.look(1_070);
    expect(failover.state.kind).toBe("counting");
    expect(repeatedText(failover.state)).toBe("");
    failover.look(6_000);
    expect(plainReport(failover)).toBe("Next message after 70 ms · 1 lost · 0 doubled");
    expect(repeatedText(failover.state)).toBe("; 1 spoken again (publish_unknown)");
  });
});

describe("the snippets", () => {
  const facts = { base: "http://localhost:8080", topicId: "default.demo:room", withToken: false };

  test.each(["curl", "javascript", "python"] as const)("in %s name the place and the topic", (language) => {
    const text = snippetOf(language, facts);
    expect(text).toContain("localhost:8080");
    expect(text).toContain("default.demo:room");
    expect(text).not.toMatch(/token/i);
    expect(snippetOf(language, { ...facts, withToken: true })).toMatch(/TOKEN/);
  });

  test("speak wss where the page came over https", () => {
    expect(snippetOf("javascript", { ...facts, base: "https://example.com" })).toContain("wss://example.com/ws");
  });
});
