// The canary at public gRPC ports with TLS: it checks certificates by its own file, takes a new one while it runs, and lets
// itself be fooled by nobody else's.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { Canary } from "../harness/canary.ts";
import { TestAuthority, writeTlsFolder } from "../harness/certificates.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { until } from "../harness/until.ts";

const NAME = "speak.example.com";

const folder = mkdtempSync(join(tmpdir(), "earshot-canary-tls-"));
const caFile = join(folder, "ca.crt");
const authority = new TestAuthority("example.com");
let fleet: TestFleet;
let canary: Canary | undefined;

beforeAll(async () => {
  writeTlsFolder(folder, authority.material([NAME]));
  fleet = await startFleet({ gateways: 1, env: { EARSHOT_PUBLIC_TLS_FOLDER: folder } });
});

afterEach(async () => {
  await canary?.close();
  canary = undefined;
});

afterAll(async () => {
  await fleet?.close();
  rmSync(folder, { recursive: true });
});

async function startCanary(serverName: string): Promise<Canary> {
  const at = fleet.grpc();
  const options = { folder: fleet.folder, topic: "default.demo", publish: at, subscribe: at };
  canary = await Canary.start({ ...options, caFile, serverName });
  return canary;
}

test("it speaks and hears over TLS, with the name that it was told", async () => {
  const one = await startCanary(NAME);
  await until(async () => (await one.counts()).heard >= 10, "ten are heard", 60_000);
  expect(await one.counts()).toMatchObject({ missed: 0, refused: 0, listening: 1 });
});

test("a certificate with another name is not spoken to", async () => {
  const one = await startCanary("other.example.com");
  await until(() => one.said("stream of the canary ended").length > 0, "it is told");
  expect(await one.counts()).toMatchObject({ sent: 0, listening: 0 });
});

test("another authority's certificates are not trusted, until the file is theirs", async () => {
  writeFileSync(caFile, new TestAuthority("example.com").pair.certificate);
  const one = await startCanary(NAME);
  await until(() => one.said("stream of the canary ended").length > 0, "it does not trust");
  writeFileSync(caFile, authority.pair.certificate);
  await until(() => one.said("canary listens").length > 0, "it listens", 60_000);
  await until(async () => (await one.counts()).heard >= 5, "five are heard", 60_000);
});
