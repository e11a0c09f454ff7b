// Runs the programs of examples/ against real processes, as their first lines say. What needs curl or Python runs when
// that is there.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";

const EXAMPLES = join(import.meta.dirname, "../../examples");

function isThere(program: string): boolean {
  return spawnSync(program, ["--version"]).status === 0;
}

let fleet: TestFleet;
const children: ChildProcess[] = [];

beforeAll(async () => {
  const topics = ["chat", "prices", "inbox"].map((name) =>
    readFileSync(join(EXAMPLES, "topics", `${name}.yaml`), "utf8"),
  );
  fleet = await startFleet({ topics });
});

afterAll(async () => {
  for (const child of children) child.kill("SIGKILL");
  await fleet?.close();
});

interface Program {
  readonly child: ChildProcess;
  stdout: string;
  stderr: string;
  /** It has ended, and all it wrote was read. */
  closed: boolean;
}

function run(program: string, args: readonly string[], token: string, input = "", further = {}): Program {
  const env = {
    ...process.env,
    EARSHOT_URL: fleet.http(),
    EARSHOT_GRPC: fleet.grpc("gateway-1"),
    EARSHOT_TOKEN: token,
    ...further,
  };
  const child = spawn(program, args, { env, cwd: join(EXAMPLES, "..") });
  children.push(child);
  const running: Program = { child, stdout: "", stderr: "", closed: false };
  child.stdout.on("data", (text: Buffer) => (running.stdout += text.toString()));
  child.stderr.on("data", (text: Buffer) => (running.stderr += text.toString()));
  child.on("close", () => (running.closed = true));
  child.stdin.end(input);
  return running;
}

async function finished(program: Program): Promise<number | null> {
  await until(() => program.closed, "the program has ended");
  return program.child.exitCode;
}

const pricer = signToken({ sub: "pricer" });
const staff = signToken({ sub: "alice", groups: ["staff"] });

test("the gRPC publisher speaks, and says what became of each message", async () => {
  const program = run(process.execPath, ["examples/grpc-publisher.ts", "shop.prices", "50"], pricer);
  expect(await finished(program), program.stderr).toBe(0);
  expect(program.stdout).toBe("50 no_subscribers; handed to 0 subscriptions in all\n");
});

test("the gRPC publisher says why nothing was spoken", async () => {
  const program = run(process.execPath, ["examples/grpc-publisher.ts", "shop.prices", "2"], staff);
  expect(await finished(program), program.stderr).toBe(0);
  expect(program.stdout).toBe("2 forbidden; handed to 0 subscriptions in all\n");
});

test("in a cluster: a Job's program is heard by a Deployment's, by tokens from files, also after its gateway left", async () => {
  const programs = "examples/kubernetes";
  const tokenFile = join(fleet.folder, "token");
  writeFileSync(tokenFile, staff);
  const env = { EARSHOT_TOKEN_FILE: tokenFile, EARSHOT_GRPC: fleet.grpc("gateway-0") };
  const ears = run(process.execPath, [`${programs}/listen.ts`, "shop.chat:kitchen"], "", "", env);
  const heardMore = async (): Promise<void> => {
    const before = ears.stdout.length;
    const mouth = run(process.execPath, [`${programs}/publish.ts`, "shop.chat:kitchen", "3"], "", "", {
      ...env,
      EARSHOT_GRPC: fleet.grpc("gateway-1"),
    });
    expect(await finished(mouth), mouth.stderr).toBe(0);
    expect(mouth.stdout).toBe("3 spoken on shop.chat:kitchen; handed to 3 subscriptions in all\n");
    const lines = [1, 2, 3].map((order) => `shop.chat:kitchen {"order":${order}}\n`).join("");
    await until(() => ears.stdout.slice(before) === lines, "each is heard once");
  };
  await until(() => ears.stderr === "listening\n", "it listens");
  await heardMore();
  fleet.kill("gateway-0", "SIGTERM");
  await fleet.ended("gateway-0");
  await fleet.start("gateway-0");
  await until(() => ears.stderr.split("listening\n").length === 3, "it listens again", 30_000);
  await heardMore();
});

test.skipIf(!isThere("curl"))("publish.sh speaks with curl (skipped where curl is not there)", async () => {
  const program = run("sh", ["examples/publish.sh", "shop.prices", '{"EURUSD":1.0842}'], pricer);
  expect(await finished(program), program.stderr).toBe(0);
  expect(JSON.parse(program.stdout)).toMatchObject({ delivered_to: 0, exact: true, reason: "no_subscribers" });
});

test.skipIf(!isThere("python3"))(
  "listen.py hears what publish.py speaks, and comes back after its gateway died (skipped where python3 is not there)",
  async () => {
    const ears = run("python3", ["examples/listen.py", "shop.chat:room-42", "shop.inbox:bob"], staff);
    await until(() => ears.stderr.includes("shop.inbox:bob topic_not_found"), "the other's inbox is refused");
    const heard = async (text: string): Promise<void> => {
      // It says nothing of being subscribed: speak until it hears.
      await until(async () => {
        const mouth = run("python3", ["examples/publish.py", "shop.chat:room-42"], staff, `${text}\n`);
        expect(await finished(mouth), mouth.stderr).toBe(0);
        return ears.stdout.includes(`shop.chat:room-42 alice: "${text}"\n`);
      }, `${text} is heard`);
    };
    await heard("hello");
    fleet.kill("gateway-0");
    await fleet.ended("gateway-0");
    await fleet.start("gateway-0");
    await heard("again");
    await until(() => ears.stderr.includes("connection lost"), "it says that its connection was lost");
  },
);
