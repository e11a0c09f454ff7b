import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer } from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { peerServerName } from "#core/fleet/peer-names.ts";
import type { Clock } from "#core/runtime/clock.ts";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import { certificatesOf } from "#core/runtime/tls.ts";
import { CertificateAuthority, LOOK_MS, leafName } from "../../operator/tls/authority.ts";
import { LEAF_ROLES } from "../../operator/tls/observed.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { MemorySecrets } from "../harness/memory-secrets.ts";

const INSTALLATION = { release: "live", namespace: "shop" };
const log = createLog("silent", {});
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Milliseconds that a process may be behind what is in its Secret. */
const BEHIND_MS = 2 * MINUTE_MS;

type Role = (typeof LEAF_ROLES)[number];
const secretOf = (role: Role): string => leafName(role, INSTALLATION);

let clock: HandClock;
let store: MemorySecrets;
let leading: boolean;
let told: () => void;
let registry: Registry;
let authority: CertificateAuthority;

function start(on: Clock = clock): void {
  registry = new Registry();
  const leadership = {
    get leading() {
      return leading;
    },
    onChange: (listener: () => void) => {
      told = listener;
      return () => undefined;
    },
  };
  authority = new CertificateAuthority({ store, installation: INSTALLATION, leadership, clock: on, log, registry });
  authority.start();
}

beforeEach(() => {
  clock = new HandClock();
  store = new MemorySecrets();
  leading = true;
  start();
});
afterEach(() => authority.close());

/** Lets what was begun come to its end: nothing here waits for anything but promises. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
}

async function pass(ms: number): Promise<void> {
  clock.advance(ms);
  await settle();
}

/** Why a client with this bundle would not believe a server with this certificate; undefined where it would. */
function disbelief(role: Role, leafPem: string, bundle: string, nowMs: number): string | undefined {
  const leaf = new X509Certificate(leafPem);
  const holds = ({ validFromDate, validToDate }: X509Certificate): boolean =>
    validFromDate.getTime() <= nowMs && nowMs < validToDate.getTime();
  if (!holds(leaf)) return "it is not valid now";
  if (leaf.checkHost(peerServerName(role, INSTALLATION)) === undefined) return "its name is another";
  const signers = certificatesOf(bundle).map((pem) => new X509Certificate(pem));
  const signed = signers.some((one) => holds(one) && leaf.checkIssued(one) && leaf.verify(one.publicKey));
  return signed ? undefined : "nobody in the bundle signed it";
}

interface Shown {
  readonly atMs: number;
  readonly certificate: string;
  readonly bundle: string;
}

/** What processes may have loaded: what is in their Secrets, and what was until a moment ago. */
class Pods {
  readonly #shown = new Map<Role, Shown[]>();

  /** Whether anything is new. */
  look(): boolean {
    const atMs = clock.now();
    let isNews = false;
    for (const role of LEAF_ROLES) {
      const certificate = store.text(secretOf(role), "tls.crt");
      const bundle = store.text(secretOf(role), "ca.crt");
      const all = this.#shown.get(role) ?? [];
      const last = all.at(-1);
      if (last?.certificate !== certificate || last.bundle !== bundle) {
        isNews = true;
        all.push({ atMs, certificate, bundle });
      }
      // The last one before the moment that a process may be behind is still loaded.
      while ((all[1]?.atMs ?? Number.POSITIVE_INFINITY) < atMs - BEHIND_MS) all.shift();
      this.#shown.set(role, all);
    }
    return isNews;
  }

  /** Every certificate that may be shown against every bundle that may be believed. */
  check(): void {
    for (const [server, certificates] of this.#shown) {
      for (const { certificate } of certificates) {
        for (const { bundle } of [...this.#shown.values()].flat()) {
          expect(disbelief(server, certificate, bundle, clock.now())).toBeUndefined();
        }
      }
    }
  }
}

test("a first look makes an authority and three certificates that believe each other; the next ones write nothing", async () => {
  await settle();
  expect([...store.secrets.keys()].sort()).toEqual([
    "live-ca",
    "live-gateway-tls",
    "live-operator-tls",
    "live-router-tls",
  ]);
  const pods = new Pods();
  pods.look();
  pods.check();
  expect(store.text("live-router-tls", "ca.crt")).toBe(store.text("live-ca", "tls.crt"));
  for (const role of LEAF_ROLES) expect(store.secrets.get(secretOf(role))?.data).not.toHaveProperty("next.key");
  const { writes } = store;
  await pass(20 * LOOK_MS);
  expect(store.writes).toBe(writes);
  const metrics = await registry.metrics();
  expect(metrics).toContain('earshot_certificates_made_total{kind="leaf"} 3');
  expect(metrics).toMatch(/earshot_authority_expiry_seconds 1[0-9]{9}/);
});

test("two years of renewals: at no moment would a process disbelieve another one", async () => {
  await settle();
  const pods = new Pods();
  pods.look();
  const authorities = new Set<string>();
  const leaves = new Set<string>();
  let most = 0;
  const endMs = clock.now() + 2 * 365 * DAY_MS;
  for (let step = 0; clock.now() < endMs; step++) {
    // Looks come at odd times: mostly hours apart, at times a minute.
    await pass(step % 7 === 0 ? LOOK_MS : 8 * HOUR_MS + (step % 11) * MINUTE_MS);
    if (pods.look() || step % 3 === 0) pods.check();
    authorities.add(store.text("live-ca", "tls.crt"));
    leaves.add(store.text("live-router-tls", "tls.crt"));
    most = Math.max(most, certificatesOf(store.text("live-router-tls", "ca.crt")).length);
  }
  expect(authorities.size).toBe(3);
  expect(leaves.size).toBeGreaterThanOrEqual(12);
  expect(most).toBe(2);
}, 120_000);

test("an outage of all operators for a month harms nobody, and is made up for without a break", async () => {
  await settle();
  const pods = new Pods();
  for (const [workedMs, awayMs] of [
    [59 * DAY_MS, 29 * DAY_MS],
    [100 * DAY_MS, 30 * DAY_MS],
    [60 * DAY_MS, 30 * DAY_MS],
  ] as const) {
    for (let passed = 0; passed < workedMs; passed += 12 * HOUR_MS) {
      await pass(12 * HOUR_MS);
      pods.look();
      pods.check();
    }
    store.down = true;
    for (let passed = 0; passed < awayMs; passed += DAY_MS) {
      await pass(DAY_MS);
      pods.look();
      pods.check();
    }
    store.down = false;
  }
}, 60_000);

describe("what somebody did to a Secret", () => {
  beforeEach(settle);

  test("a Secret that is gone is back with the next look; the others stay as they are", async () => {
    const others = store.text("live-router-tls", "tls.crt");
    store.secrets.delete("live-gateway-tls");
    await pass(LOOK_MS);
    const pods = new Pods();
    pods.look();
    pods.check();
    expect(store.text("live-router-tls", "tls.crt")).toBe(others);
  });

  test("an authority that is lost is followed by another one, and what it signed is believed until all know the new one", async () => {
    const [lost, leaf] = [store.text("live-ca", "tls.crt"), store.text("live-router-tls", "tls.crt")];
    const pods = new Pods();
    pods.look();
    store.secrets.delete("live-ca");
    for (let minutes = 0; minutes < 3 * 60; minutes++) {
      await pass(LOOK_MS);
      pods.look();
      pods.check();
      if (minutes === 30) {
        expect(store.text("live-ca", "tls.crt")).not.toBe(lost);
        expect(store.text("live-router-tls", "tls.crt")).toBe(leaf);
        expect(store.text("live-router-tls", "ca.crt")).toContain(lost);
      }
    }
    expect(store.text("live-router-tls", "tls.crt")).not.toBe(leaf);
    expect(store.text("live-router-tls", "ca.crt")).toBe(store.text("live-ca", "tls.crt"));
  });

  test.each([
    ["no certificate", { "tls.crt": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" }],
    ["another one's key", { "tls.key": "" }],
    ["nothing", {}],
  ])("a Secret with %s gets a good one", async (_what, wrong) => {
    const secret = store.secrets.get("live-router-tls");
    const data = Object.keys(wrong).length === 0 ? {} : { ...secret?.data, ...wrong };
    store.secrets.set("live-router-tls", { data, annotations: {}, resourceVersion: "x" });
    await pass(LOOK_MS);
    const pods = new Pods();
    pods.look();
    pods.check();
  });

  test("everything ran out: everything is made anew at once", async () => {
    store.down = true;
    await pass(400 * DAY_MS);
    store.down = false;
    await pass(LOOK_MS);
    const pods = new Pods();
    pods.look();
    pods.check();
  });
});

test("who does not lead writes nothing; who begins to lead does, and who stops, stops", async () => {
  await settle();
  await authority.close();
  store = new MemorySecrets();
  leading = false;
  start();
  await pass(10 * LOOK_MS);
  expect(store.writes).toBe(0);
  leading = true;
  told();
  await settle();
  expect(store.writes).toBe(4);
  leading = false;
  told();
  store.secrets.clear();
  await pass(10 * LOOK_MS);
  expect(store.writes).toBe(4);
});

test("a write that another operator made first is not undone, and what is missing is written by the next look", async () => {
  await settle();
  const before = store.secrets.get("live-router-tls");
  store.secrets.delete("live-router-tls");
  if (before === undefined) throw new Error("there was no secret");
  store.beforeWrite = (name) => store.secrets.set(name, { ...before, resourceVersion: "theirs" });
  await pass(LOOK_MS);
  store.beforeWrite = () => undefined;
  await pass(LOOK_MS);
  expect(store.secrets.get("live-router-tls")).toMatchObject({ resourceVersion: "theirs" });
  store.beforeWrite = () => {
    throw new Error("refused");
  };
  store.secrets.delete("live-gateway-tls");
  await pass(LOOK_MS);
  expect(await registry.metrics()).toMatch(/earshot_certificate_failures_total [1-9]/);
  store.beforeWrite = () => undefined;
  await pass(LOOK_MS);
  expect(store.secrets.has("live-gateway-tls")).toBe(true);
});

test("a change of authorities that ends now is believed in real handshakes, by who has read all and by who is behind", async () => {
  await authority.close();
  store = new MemorySecrets();
  // An authority that is just old enough by the machine's own clock.
  const startedMs = Date.now() - (365 * DAY_MS * 2) / 3 - 2 * HOUR_MS;
  const offsetMs = startedMs - clock.now();
  start({ ...clockOf(), now: () => clock.now() + offsetMs });
  await settle();
  const old: Record<string, string> = {};
  let changed = false;
  while (clock.now() + offsetMs < Date.now()) {
    const before = store.text("live-router-tls", "tls.crt");
    const bundle = store.text("live-router-tls", "ca.crt");
    await pass(Date.now() - clock.now() - offsetMs > 2 * DAY_MS ? DAY_MS : HOUR_MS / 2);
    if (certificatesOf(bundle).length === 2 && store.text("live-router-tls", "tls.crt") !== before) {
      changed = true;
      Object.assign(old, { certificate: before, bundle });
    }
  }
  expect(changed).toBe(true);
  const [certificate, key] = [store.text("live-router-tls", "tls.crt"), store.text("live-router-tls", "tls.key")];
  const server = createServer({ cert: certificate, key }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const servername = peerServerName("router", INSTALLATION);
  try {
    for (const ca of [store.text("live-gateway-tls", "ca.crt"), old["bundle"] ?? ""]) {
      const socket = connect({ host: "127.0.0.1", port, ca: [...certificatesOf(ca)], servername });
      await once(socket, "secureConnect");
      expect(socket.authorized).toBe(true);
      socket.destroy();
    }
    const stranger = connect({ host: "127.0.0.1", port, ca: store.text("live-ca", "tls.crt"), servername: "else" });
    await expect(once(stranger, "secureConnect")).rejects.toThrow();
  } finally {
    server.close();
  }
});

function clockOf(): Clock {
  return {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    after: (delayMs, action) => clock.after(delayMs, action),
    every: (intervalMs, action) => clock.every(intervalMs, action),
  };
}
