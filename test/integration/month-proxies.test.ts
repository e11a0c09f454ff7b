// A real nginx in front, as people write its configuration: with its defaults, with everything that docs/proxies.md says,
// with compression of everything, and one that is told to buffer whatever Earshot says.

import { get, type IncomingMessage } from "node:http";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { openGrpc } from "../harness/grpc-ears.ts";
import { publish } from "../harness/http.ts";
import { isNginxThere, Nginx } from "../harness/nginx.ts";
import { openSse, SseClient } from "../harness/sse.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const TOPIC = "default.demo";
const STREAM = `/api/v1/topics/${TOPIC}/subscribe`;

/** The configurations on the page. */
function documented(): readonly string[] {
  const page = readFileSync(join(import.meta.dirname, "../../docs/proxies.md"), "utf8");
  return [...page.matchAll(/```nginx\n(.*?)```/gs)].map(([, text = ""]) => text);
}

/** What stands in a `server` block, but for the port that it listens on. */
function serverOf(text: string): string {
  return text.slice(text.indexOf("server {") + "server {".length, text.lastIndexOf("}")).replace(/listen [^;]*;/, "");
}

if (!isNginxThere()) process.stdout.write("skipped: nginx is not there\n");

describe.skipIf(!isNginxThere())("behind nginx", () => {
  let fleet: TestFleet;
  let nginx: Nginx;
  let gateway: string;
  beforeAll(async () => {
    fleet = await startFleet({
      gateways: 1,
      env: { EARSHOT_TRUSTED_PROXIES: "127.0.0.1", EARSHOT_CONNECTIONS_PER_ADDRESS: "6" },
    });
    gateway = fleet.http();
    const [web = "", grpc = ""] = documented();
    const forwarded = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;";
    nginx = await Nginx.start(
      {
        defaults: `location / { proxy_pass ${gateway}; }`,
        documented: serverOf(web).replace("http://127.0.0.1:8080", gateway),
        grpc: serverOf(grpc).replace("127.0.0.1:8081", fleet.grpc()),
        compressing: `gzip on; gzip_types *; gzip_min_length 0; gzip_proxied any;
          location / { proxy_pass ${gateway}; ${forwarded} }`,
        stubborn: `location / { proxy_pass ${gateway}; proxy_ignore_headers X-Accel-Buffering; ${forwarded} }`,
      },
      web.slice(0, web.indexOf("server {")),
    );
  });
  afterAll(async () => {
    await nginx.close();
    await fleet.close();
  });

  /** Publishes at the gateway itself, and hears through a proxy: each message before the next is spoken. */
  async function expectPrompt(stream: SseClient): Promise<void> {
    for (let n = 0; n < 5; n++) {
      await publish(gateway, TOPIC, { n });
      await until(() => stream.frames.of("message").length === n + 1, `message ${n} came before the next is spoken`);
    }
  }

  test("with its defaults (HTTP/1.0, buffering on) a stream's events come one by one", async () => {
    const stream = await openSse(nginx.url("defaults"), TOPIC);
    await expectPrompt(stream);
    await stream.close();
    await until(async () => (await publish(gateway, TOPIC, 1)).json["delivered_to"] === 0, "nobody hears any more");
  });

  test("with compression of everything they still do", async () => {
    const stream = await openSse(nginx.url("compressing"), TOPIC);
    expect(stream.response.headers.get("content-encoding")).toBe("gzip");
    await expectPrompt(stream);
    await stream.close();
  });

  test("HTTP calls are answered, sized and without chunks that HTTP/1.0 does not know", async () => {
    for (const name of ["defaults", "documented", "compressing", "stubborn"]) {
      const { status, json } = await publish(nginx.url(name), TOPIC, "through a proxy");
      expect([status, json["reason"]], name).toEqual([200, "no_subscribers"]);
    }
  });

  test("WebSockets pass where Upgrade is passed on, and are told what is missing where it is not", async () => {
    const client = await openWebSocket(nginx.url("documented").replace("http", "ws"), { topics: [TOPIC] });
    client.send({ type: "publish", id: "1", topic_id: TOPIC, payload: "both ways" });
    await client.frames.next({ type: "message", payload: "both ways" });
    await client.close();
    const response = await fetch(`${nginx.url("defaults")}/ws/subscribe`, {
      headers: { "sec-websocket-version": "13" },
    });
    expect(response.status).toBe(426);
    expect(((await response.json()) as { detail: string }).detail).toContain("Upgrade");
  });

  test("gRPC streams pass where they are passed on as gRPC", async () => {
    const ears = await openGrpc(new URL(nginx.url("grpc")).host, [TOPIC]);
    for (let n = 0; n < 3; n++) {
      await publish(gateway, TOPIC, { n });
      await ears.next("message", n);
    }
    ears.close();
  });

  test("a proxy that buffers all the same holds a stream back, and gives all of it in order once it has enough", async () => {
    const count = async (): Promise<unknown> => (await publish(gateway, TOPIC, "counted")).json["delivered_to"];
    await until(async () => (await count()) === 0, "nobody of the tests before is left");
    let isOpen = false;
    const opening = SseClient.open(nginx.url("stubborn"), STREAM).then((client) => {
      isOpen = true;
      return client;
    });
    await until(async () => (await publish(gateway, TOPIC, "small")).json["delivered_to"] === 1, "it is subscribed");
    const direct = await openSse(gateway, TOPIC);
    await publish(gateway, TOPIC, "heard by the other");
    await direct.frames.next({ type: "message", payload: "heard by the other" });
    // Not even the head of the answer has come.
    expect(isOpen).toBe(false);
    for (let n = 0; n < 40; n++) await publish(gateway, TOPIC, `${n} ${"x".repeat(2_000)}`);
    const stream = await opening;
    await stream.frames.next({ type: "message", payload: "small" });
    const texts = stream.frames.of("message").map((frame) => String(frame["payload"]).split(" ")[0]);
    expect(texts).toEqual(["small", "heard", ...Array.from({ length: texts.length - 2 }, (_, n) => String(n))]);
    await stream.close();
    await direct.close();
  });

  /** Opens a stream from an address of this machine; resolves with its first event. */
  async function firstEventFrom(localAddress: string, headers: Record<string, string> = {}) {
    const request = get(`${nginx.url("documented")}${STREAM}`, { localAddress, headers, agent: false });
    request.on("error", () => undefined);
    const [response] = (await once(request, "response")) as [IncomingMessage];
    let text = "";
    response.on("error", () => undefined);
    response.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    await until(() => text.includes("data: "), "an event comes");
    return { text, end: () => request.destroy() };
  }

  test("a limit of addresses counts the client that the proxy names, and nobody names himself", async () => {
    const own = await Promise.all([1, 2, 3, 4, 5, 6].map(() => firstEventFrom("127.0.0.2")));
    for (const { text } of own) expect(text).toContain('"type":"welcome"');
    expect((await firstEventFrom("127.0.0.2")).text).toContain('"type":"reconnect"');
    const forged = await firstEventFrom("127.0.0.2", { "x-forwarded-for": "198.51.100.7" });
    expect(forged.text).toContain('"type":"reconnect"');
    const other = await firstEventFrom("127.0.0.3");
    expect(other.text).toContain('"type":"welcome"');
    for (const client of [...own, forged, other]) client.end();
  });
});
