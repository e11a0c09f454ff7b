// A gateway of `npm start` that is told to stop while a service publishes over a keep-alive agent: nobody's request
// fails, and an idle connection does not hold it up.

import { Agent, request } from "node:http";
import { connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Standalone, startStandalone } from "../harness/standalone.ts";
import { until } from "../harness/until.ts";

let standalone: Standalone;

beforeAll(async () => {
  standalone = await startStandalone();
});
afterAll(() => standalone?.close());

/** Publishes once, on one of 20 channels; resolves with the answer's status, or the error's code. */
function publish(agent: Agent, count: number): Promise<number | string> {
  return new Promise((resolve) => {
    const url = `${standalone.http}/api/v1/topics/default.demo:${count % 20}/publish`;
    const sent = request(url, { method: "POST", agent }, (answer) => {
      answer.resume();
      answer.once("end", () => resolve(answer.statusCode ?? 0));
      answer.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    });
    sent.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    sent.end('{"payload":1}');
  });
}

function pidOf(name: string): number {
  const pid = standalone.peer(name)?.pid;
  if (pid === undefined) throw new Error(`${name} is not there`);
  return pid;
}

test.each([
  "gateway-0",
  "gateway-1",
])("1,000 publishes a second over 8 kept connections outlive a stop of %s", async (name) => {
  const agent = new Agent({ keepAlive: true, maxSockets: 8, scheduling: "fifo" });
  const outcomes: Promise<number | string>[] = [];
  const speak = setInterval(() => {
    for (let index = 0; index < 5; index++) outcomes.push(publish(agent, outcomes.length));
  }, 5);
  await until(() => outcomes.length >= 100, "publishes are under way");
  const before = pidOf(name);
  process.kill(before, "SIGTERM");
  await until(() => (standalone.peer(name)?.pid ?? before) !== before, "another process is in its place", 15_000);
  const there = outcomes.length;
  await until(() => outcomes.length >= there + 100, "publishes go on");
  clearInterval(speak);
  const failed = (await Promise.all(outcomes)).filter((outcome) => outcome !== 200);
  agent.destroy();
  expect(failed).toEqual([]);
});

test("idle connections are closed without a reset, before the drain is over", async () => {
  const { port } = new URL(standalone.http);
  const idle = Array.from({ length: 16 }, () => {
    const socket = connect(Number(port), "127.0.0.1");
    const seen = { socket, answered: false, ended: false, error: "" };
    socket.write("GET /api/v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n");
    socket.on("data", () => (seen.answered = true));
    socket.on("end", () => (seen.ended = true));
    socket.on("error", (error) => (seen.error = error.message));
    return seen;
  });
  await until(() => idle.every(({ answered }) => answered), "every connection is in use");
  const before = pidOf("gateway-0");
  const startedMs = performance.now();
  process.kill(before, "SIGTERM");
  await until(() => standalone.peer("gateway-0") === undefined, "the gateway is gone", 10_000);
  expect(performance.now() - startedMs).toBeLessThan(4_000);
  await until(() => (standalone.peer("gateway-0")?.pid ?? before) !== before, "it is there again");
  const ended = idle.filter((seen) => seen.ended);
  expect(idle.filter(({ error }) => error !== "")).toEqual([]);
  // The kernel gave some of them to each gateway.
  expect(ended.length).toBeGreaterThan(0);
  expect(ended.length).toBeLessThan(16);
  for (const { socket } of idle) socket.destroy();
});
