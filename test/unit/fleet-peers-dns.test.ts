import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { PeerDirectory } from "#core/fleet/peer-endpoint.ts";
import { announcePeer, watchPeers } from "#core/fleet/peers.ts";
import { parseDnsPeers, watchDns } from "#core/fleet/peers-dns.ts";
import { ConfigError } from "#core/runtime/config.ts";
import { createLog } from "#core/runtime/log.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { until } from "../harness/until.ts";

const log = createLog("silent", {});
const SETTING = "operator=earshot-operator.shop.svc:7001,router=earshot-router.shop.svc:7002";

function failure(code: string): Error {
  return Object.assign(new Error(`getaddrinfo ${code}`), { code });
}

describe("names in DNS", () => {
  let clock: HandClock;
  let answers: Record<"operator" | "router", readonly string[] | Error>;
  let directory: PeerDirectory;
  let asked: number;
  beforeEach(() => {
    clock = new HandClock();
    answers = { operator: ["10.0.0.1"], router: ["10.0.0.3", "10.0.0.2"] };
    asked = 0;
    const lookup = async (host: string): Promise<readonly string[]> => {
      asked += 1;
      const answer = answers[host.startsWith("earshot-operator") ? "operator" : "router"];
      if (answer instanceof Error) throw answer;
      return answer;
    };
    directory = watchDns(parseDnsPeers(SETTING), { log, clock, lookup });
  });
  afterEach(() => directory.close());

  const routers = () => directory.list("router").map(({ grpc }) => grpc);
  const known = () => until(() => routers().length > 0 && directory.list("operator").length > 0, "known");
  /** Lets time pass in steps shorter than any wait, with what was asked answered in between. */
  async function pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 500) {
      clock.advance(500);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  test("every address is a peer of its role, in order, with the port of its name", async () => {
    await known();
    expect(routers()).toEqual(["10.0.0.2:7002", "10.0.0.3:7002"]);
    expect(directory.list("operator")).toEqual([
      expect.objectContaining({ role: "operator", grpc: "10.0.0.1:7001", incarnation: "10.0.0.1:7001" }),
    ]);
    expect(directory.list("presence")).toEqual([]);
  });

  test("addresses that come and go are told, once a change; IPv6 ones are in brackets", async () => {
    await known();
    let changes = 0;
    directory.onChange(() => (changes += 1));
    await pass(4_000);
    expect(changes).toBe(0);
    answers.router = ["fd00::7", "10.0.0.3", "fd00::7"];
    await pass(2_500);
    expect(routers()).toEqual(["10.0.0.3:7002", "[fd00::7]:7002"]);
    expect(changes).toBe(1);
  });

  test("a resolver that fails changes nothing, however long", async () => {
    await known();
    answers.router = failure("EAI_AGAIN");
    await pass(60_000);
    expect(routers()).toHaveLength(2);
    answers.router = ["10.0.0.9"];
    await pass(2_500);
    expect(routers()).toEqual(["10.0.0.9:7002"]);
  });

  test("a name without addresses has lost its peers after 10 s, not before", async () => {
    await known();
    answers.router = failure("ENOTFOUND");
    await pass(9_500);
    expect(routers()).toHaveLength(2);
    answers.router = ["10.0.0.2"];
    await pass(2_500);
    answers.router = [];
    await pass(9_500);
    expect(routers()).toHaveLength(1);
    await pass(4_000);
    expect(routers()).toEqual([]);
  });

  test("nothing is asked once it is closed", async () => {
    await known();
    await directory.close();
    const before = asked;
    await pass(10_000);
    expect(asked).toBe(before);
  });
});

test("a real name is resolved as the machine resolves it", async () => {
  const directory = watchPeers("dns:operator=localhost:7001,router=127.0.0.3:7002", log);
  try {
    await until(() => directory.list("operator").length > 0 && directory.list("router").length > 0, "resolved");
    expect(["127.0.0.1:7001", "[::1]:7001"]).toContain(directory.list("operator")[0]?.grpc);
    expect(directory.list("router").map(({ grpc }) => grpc)).toEqual(["127.0.0.3:7002"]);
  } finally {
    await directory.close();
  }
});

test("with names in DNS there is nothing to announce", async () => {
  const endpoint = { name: "a", role: "router", incarnation: "a", pid: 1, grpc: "a:1", probes: "a:2" } as const;
  const announced = await announcePeer(`dns:${SETTING}`, { ...endpoint, node: "", zone: "" });
  await announced.close();
});

test.each([
  ["operator=a:1", "once each"],
  ["operator=a:1,operator=b:1", "once each"],
  ["operator=a:1,router=b:1,router=c:1", "once each"],
  ["operator=a:1,gateway=b:1", "gateway=b:1"],
  ["operator=a:1,router=b", "router=b"],
  ["operator=a:0,router=b:1", "operator=a:0"],
  ["operator=a:1,router=b:65536", "router=b:65536"],
])("names like %s are refused", (text, why) => {
  expect(() => parseDnsPeers(text)).toThrow(ConfigError);
  expect(() => parseDnsPeers(text)).toThrow(why);
});
