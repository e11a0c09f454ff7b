// The program of `helm test`, against real processes: in a cluster a pod of the chart runs it.

import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";

const PROGRAM = join(import.meta.dirname, "../../charts/earshot/files/hear-and-speak.ts");

const TOPIC = (name: string): string => `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: shop, name: ${name}}
spec:
  publishers: [{kind: User, name: tester}]
  subscribers: [{kind: User, name: tester}]
`;

let fleet: TestFleet;

beforeAll(async () => {
  fleet = await startFleet({ topics: [TOPIC("test")] });
});

afterAll(async () => {
  await fleet?.close();
});

function run(topicId: string): { said: () => string; ended: Promise<number | null>; kill: () => void } {
  const tokenFile = join(fleet.folder, "token");
  writeFileSync(tokenFile, `${signToken({ sub: "tester" })}\n`);
  const env = { ...process.env, GATEWAY_URL: fleet.http(), TOPIC_ID: topicId, TOKEN_FILE: tokenFile };
  const child = spawn(process.execPath, [PROGRAM], { env });
  let said = "";
  for (const output of [child.stdout, child.stderr]) output.on("data", (text: Buffer) => (said += text.toString()));
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  return { said: () => said, ended, kill: () => child.kill("SIGKILL") };
}

test("helm test hears the one message that it speaks, and ends well", async () => {
  const { said, ended } = run("shop.test");
  expect(await ended).toBe(0);
  const lines = said().trim().split("\n");
  expect(lines[0]).toBe("subscribed to shop.test");
  expect(said()).toMatch(/^published: \{.*"delivered_to":1/m);
  expect(said()).toMatch(/^heard: \{"type":"message","topic_id":"shop.test"/m);
  expect(lines.at(-1)).toMatch(/^after [\d.]+ ms$/);
});

test("helm test waits for a Topic that is not there yet, and says so", async () => {
  const program = run("shop.late");
  try {
    await until(() => program.said().includes("not yet: subscribe: "), "it has said that it waits");
    expect(program.said()).toContain("topic_not_found");
    fleet.writeTopics("late.yaml", TOPIC("late"));
    expect(await program.ended).toBe(0);
    expect(program.said()).toContain("subscribed to shop.late");
  } finally {
    program.kill();
  }
});
