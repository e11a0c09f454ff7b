import { create } from "@bufbuild/protobuf";
import { beforeEach, expect, test } from "vitest";
import { HelloSchema, ReportSchema } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { Processes, type ProcessRole } from "../../operator/control-plane/processes.ts";
import { Progress } from "../../operator/control-plane/progress.ts";
import { HandClock } from "../harness/hand-clock.ts";

const sessions: { incarnation: string; role: ProcessRole; appliedVersion: number }[] = [];
let processes: Processes;
let progress: Progress;

beforeEach(() => {
  sessions.length = 0;
  processes = new Processes(new HandClock());
  progress = new Progress({ topicSessions: () => sessions.values() as never }, processes);
});

function connect(incarnation: string, topicsRevision = 0n): void {
  processes.opened(create(HelloSchema, { incarnation, name: incarnation }), "gateway");
  processes.reported(incarnation, create(ReportSchema, { ready: true, topicsRevision }));
}

const CHANGE = { version: 7, revision: 1_000n };

test("who takes Topics from this operator has a change when it applied that version", () => {
  connect("g1");
  sessions.push({ incarnation: "g1", role: "gateway", appliedVersion: 6 });
  expect(progress.holders().map((holder) => holder.has(CHANGE))).toEqual([false]);
  sessions[0] = { incarnation: "g1", role: "gateway", appliedVersion: 7 };
  expect(progress.holders().map((holder) => holder.has(CHANGE))).toEqual([true]);
});

test("who takes them from another replica has it when the store's revision that it tells is not below", () => {
  connect("g1", 999n);
  expect(progress.holders().map((holder) => holder.has(CHANGE))).toEqual([false]);
  processes.reported("g1", create(ReportSchema, { ready: true, topicsRevision: 1_000n }));
  expect(progress.holders().map((holder) => holder.has(CHANGE))).toEqual([true]);
});

test("who takes them from here is judged by that alone, whatever revision it had elsewhere", () => {
  connect("g1", 5_000n);
  sessions.push({ incarnation: "g1", role: "gateway", appliedVersion: 6 });
  expect(progress.holders().map((holder) => holder.has(CHANGE))).toEqual([false]);
});

test("who has told no revision, and who is gone, holds no Topics yet or any more", () => {
  connect("g1");
  connect("g2", 2_000n);
  expect(progress.holders()).toHaveLength(1);
  processes.closed("g2");
  expect(progress.holders()).toEqual([]);
});

test("a report tells whether the revision is another one", () => {
  connect("g1", 5n);
  const report = (topicsRevision: bigint) => create(ReportSchema, { ready: true, topicsRevision });
  expect(processes.reported("g1", report(5n)).hasMoreTopics).toBe(false);
  expect(processes.reported("g1", report(6n)).hasMoreTopics).toBe(true);
});
