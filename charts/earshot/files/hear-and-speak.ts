// Owns: `helm test`: one pod that subscribes to a Topic of its own, publishes one message there, hears it, and says how long
// that took. It proves itself by its ServiceAccount token alone. It runs with nothing but Node.js; exit code 1 says why not.

import { readFileSync } from "node:fs";

/** A Topic that was just made is usable within a second; a machine that is just being set up may take longer. */
const GIVE_UP_MS = 60_000;
const AGAIN_MS = 500;

const base = process.env["GATEWAY_URL"] ?? "";
const topicId = process.env["TOPIC_ID"] ?? "";
const text = `hello at ${new Date().toISOString()}`;

function headers(): Record<string, string> {
  return { authorization: `Bearer ${readFileSync(process.env["TOKEN_FILE"] ?? "", "utf8").trim()}` };
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Frames of one SSE subscription; throws what the gateway says against it. */
async function* hear(): AsyncGenerator<Record<string, unknown>> {
  const response = await fetch(`${base}/api/v1/topics/${topicId}/subscribe`, { headers: headers() });
  if (response.status !== 200 || response.body === null) throw new Error(`subscribe: ${await response.text()}`);
  let rest = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line.startsWith("data: ")) yield JSON.parse(line.slice("data: ".length)) as Record<string, unknown>;
    }
  }
  throw new Error("subscribe: the stream ended");
}

async function speak(): Promise<void> {
  const response = await fetch(`${base}/api/v1/topics/${topicId}/publish`, {
    method: "POST",
    headers: { ...headers(), "content-type": "application/json" },
    body: JSON.stringify({ payload: text }),
  });
  const answer = await response.text();
  if (response.status !== 200) throw new Error(`publish: ${answer}`);
  say(`published: ${answer}`);
}

async function attempt(): Promise<void> {
  let spokeAtMs = 0;
  for await (const frame of hear()) {
    if (frame["type"] === "subscribed") {
      say(`subscribed to ${topicId}`);
      spokeAtMs = performance.now();
      await speak();
    } else if (frame["type"] === "message" && frame["payload"] === text) {
      say(`heard: ${JSON.stringify(frame)}`);
      say(`after ${(performance.now() - spokeAtMs).toFixed(1)} ms`);
      return;
    }
  }
}

const overall = setTimeout(() => {
  say(`nothing was heard within ${GIVE_UP_MS / 1000} s`);
  say("topic_not_found would mean: the Topic is another installation's (its status.controllerName says whose)");
  process.exit(1);
}, GIVE_UP_MS);
for (let last = ""; ; ) {
  try {
    await attempt();
    clearTimeout(overall);
    process.exit(0);
  } catch (error) {
    const why =
      error instanceof Error
        ? `${error.message} ${error.cause instanceof Error ? error.cause.message : ""}`.trim()
        : String(error);
    if (why !== last) say(`not yet: ${why}`);
    last = why;
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}
