// How the operator finds its API server, and what it says where it cannot.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createRegistry } from "#core/runtime/metrics.ts";
import { connectKube } from "../../operator/kube/api.ts";
import { KubeCredentials } from "../../operator/kube/credentials.ts";
import { HandClock } from "../harness/hand-clock.ts";

let folder: string;
let kubeconfig: string;
const before = { KUBECONFIG: process.env["KUBECONFIG"], HOME: process.env["HOME"] };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "earshot-kubeconfig-"));
  kubeconfig = join(folder, "config");
  process.env["KUBECONFIG"] = kubeconfig;
  process.env["HOME"] = folder;
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
  for (const [name, value] of Object.entries(before)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
});

function write(cluster: Record<string, unknown>, user: Record<string, unknown> = {}, current = "c"): void {
  const config = {
    clusters: [{ name: "k", cluster: { server: "https://kubernetes.test:6443/base", ...cluster } }],
    users: [{ name: "u", user }],
    contexts: [{ name: "c", context: { cluster: "k", user: "u" } }],
    "current-context": current,
  };
  writeFileSync(kubeconfig, JSON.stringify(config));
}

function connected() {
  return connectKube({ log: pino({ level: "silent" }), registry: createRegistry("operator"), clock: new HandClock() });
}

test("without any configuration it says what to set", async () => {
  delete process.env["KUBECONFIG"];
  await expect(connected()).rejects.toThrow(
    "no Kubernetes API server is configured: run in a pod with a ServiceAccount token, or set KUBECONFIG to a kubeconfig file",
  );
});

test("a kubeconfig that is not there, is none, or names no context is told so", async () => {
  await expect(connected()).rejects.toThrow(/^the kubeconfig cannot be read: .*no such file/);
  writeFileSync(kubeconfig, "]");
  await expect(connected()).rejects.toThrow(/^the kubeconfig cannot be read: /);
  write({}, {}, "another");
  await expect(connected()).rejects.toThrow("the kubeconfig names no current context");
});

test("what cannot be used is told before anybody is called", async () => {
  write({ "proxy-url": "socks5://127.0.0.1:1080" });
  await expect(connected()).rejects.toThrow("only an HTTP proxy can be used");
  write({ "certificate-authority": join(folder, "none.crt") });
  await expect(connected()).rejects.toThrow(/^the Kubernetes configuration cannot be used: .*no such file/);
});

test("tokens and certificates come out as they are, and again only when they are old or refused", async () => {
  const clock = new HandClock();
  const credentials = new KubeCredentials(clock);
  const data = (text: string): string => Buffer.from(text).toString("base64");
  write({ "certificate-authority-data": data("ca"), "tls-server-name": "api.test" }, { token: "first" });
  const first = await credentials.read();
  expect(first.server.href).toBe("https://kubernetes.test:6443/base");
  expect(first.headers).toEqual({ authorization: "Bearer first" });
  expect(first.tls).toEqual({ ca: Buffer.from("ca"), servername: "api.test" });
  write({ "certificate-authority-data": data("another") }, { token: "second" });
  expect(await credentials.read()).toBe(first);
  credentials.reload();
  const second = await credentials.read();
  expect(second.headers).toEqual({ authorization: "Bearer second" });
  expect(second.fingerprint).not.toBe(first.fingerprint);
  // Once a second at most, whoever asks.
  write({}, { token: "third" });
  credentials.reload();
  expect((await credentials.read()).headers).toEqual({ authorization: "Bearer second" });
  clock.advance(1_000);
  credentials.reload();
  expect((await credentials.read()).headers).toEqual({ authorization: "Bearer third" });
});

test("files that a kubeconfig names are read anew after half a minute", async () => {
  const clock = new HandClock();
  const credentials = new KubeCredentials(clock);
  const files = ["client.crt", "client.key"].map((name) => join(folder, name)) as [string, string];
  for (const file of files) writeFileSync(file, "first");
  write({}, { "client-certificate": files[0], "client-key": files[1] });
  expect((await credentials.read()).tls).toEqual({ cert: Buffer.from("first"), key: Buffer.from("first") });
  for (const file of files) writeFileSync(file, "second");
  clock.advance(29_000);
  expect((await credentials.read()).tls).toEqual({ cert: Buffer.from("first"), key: Buffer.from("first") });
  clock.advance(1_000);
  expect((await credentials.read()).tls).toEqual({ cert: Buffer.from("second"), key: Buffer.from("second") });
});

test("a configuration that cannot be read for a moment is read at the next call", async () => {
  const clock = new HandClock();
  const credentials = new KubeCredentials(clock);
  write({}, { token: "first" });
  await credentials.read();
  clock.advance(1_000);
  rmSync(kubeconfig);
  credentials.reload();
  await expect(credentials.read()).rejects.toThrow("the kubeconfig cannot be read");
  write({}, { token: "second" });
  expect((await credentials.read()).headers).toEqual({ authorization: "Bearer second" });
});
