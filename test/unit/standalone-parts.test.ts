import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadConfig } from "#core/runtime/config.ts";
import { bannerOf } from "../../standalone/banner.ts";
import { CannotStart } from "../../standalone/cannot-start.ts";
import { closeDoors, isLoopback, openDoors, portsOf, resolvePortSharing } from "../../standalone/doors.ts";
import { helpText } from "../../standalone/help.ts";
import { takeLock } from "../../standalone/lock.ts";
import { Logs } from "../../standalone/logs.ts";
import { slotsOf } from "../../standalone/slots.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "earshot-parts-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("the banner", () => {
  test("says what to do next, to the letter", () => {
    expect(bannerOf({ host: "127.0.0.1", ports: { http: 8080, grpc: 8081 }, routers: 2, gateways: 2 })).toBe(
      `Earshot is listening.   http://localhost:8080   (2 routers, 2 gateways)
gRPC:   localhost:8081   (reflection is on)
Hear:   curl -N localhost:8080/api/v1/topics/default.demo/subscribe
Speak:  curl localhost:8080/api/v1/topics/default.demo/publish -d '{"payload":"hi"}'
Token:  npm run token -- alice --subscribe 'default.*'
`,
    );
  });

  test("names an address that localhost is not, and counts one as one", () => {
    const banner = bannerOf({ host: "127.0.0.9", ports: { http: 1, grpc: 2 }, routers: 1, gateways: 1 });
    expect(banner).toContain("http://127.0.0.9:1   (1 router, 1 gateway)");
    expect(bannerOf({ host: "fd00::1", ports: { http: 1, grpc: 2 }, routers: 1, gateways: 1 })).toContain(
      "[fd00::1]:1",
    );
  });

  test("writes an IPv6 address as a browser and a shell take it", () => {
    expect(bannerOf({ host: "::1", ports: { http: 8080, grpc: 8081 }, routers: 2, gateways: 2 })).toBe(
      `Earshot is listening.   http://[::1]:8080   (2 routers, 2 gateways)
gRPC:   [::1]:8081   (reflection is on)
Hear:   curl -N 'http://[::1]:8080/api/v1/topics/default.demo/subscribe'
Speak:  curl 'http://[::1]:8080/api/v1/topics/default.demo/publish' -d '{"payload":"hi"}'
Token:  npm run token -- alice --subscribe 'default.*'
`,
    );
    expect(bannerOf({ host: "::", ports: { http: 1, grpc: 2 }, routers: 1, gateways: 1 })).toContain("localhost:1 ");
  });
});

test("--help lists every setting of npm start, and none that is another process's", () => {
  const help = helpText();
  for (const flag of ["--port", "--grpc-port", "--topics", "--state", "--secret", "--port-sharing"]) {
    expect(help).toContain(`  ${flag}  EARSHOT_`);
  }
  expect(help).toContain("--anonymous  EARSHOT_ANONYMOUS  boolean [true]");
  for (const flag of ["--peers", "--peer-secret", "--name"]) expect(help).not.toContain(`  ${flag}  `);
  for (const line of help.split("\n").filter((each) => each.startsWith("      "))) {
    expect(line.length).toBeLessThanOrEqual(100);
  }
});

describe("the ports", () => {
  test("a 0 is one real port for all", async () => {
    const doors = await openDoors("127.0.0.1", { http: 0, grpc: 0 }, "handoff");
    const { http, grpc } = portsOf(doors);
    expect(http).toBeGreaterThan(0);
    expect(grpc).not.toBe(http);
    closeDoors(doors);
    closeDoors(doors);
  });

  test("a busy one is named with its setting, even where the other program would share it; nothing stays open", async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen({ host: "127.0.0.1", port: 0, reusePort: true }, resolve));
    const { port } = other.address() as { port: number };
    await expect(openDoors("127.0.0.1", { http: port, grpc: 0 }, "handoff")).rejects.toThrow(
      `port ${port} on 127.0.0.1 is in use by another program; choose another one with --port or EARSHOT_PORT`,
    );
    await expect(openDoors("127.0.0.1", { http: 0, grpc: port }, "reusePort")).rejects.toThrow(
      "--grpc-port or EARSHOT_GRPC_PORT",
    );
    await new Promise((resolve) => other.close(resolve));
    closeDoors(await openDoors("127.0.0.1", { http: port, grpc: 0 }, "handoff"));
  });

  test.runIf(process.platform === "linux")(
    "a shared one is held until a gateway has it, and nobody else gets it",
    async () => {
      const doors = await openDoors("127.0.0.1", { http: 0, grpc: 0 }, "reusePort");
      const { http: port } = portsOf(doors);
      await expect(openDoors("127.0.0.1", { http: port, grpc: 0 }, "handoff")).rejects.toThrow("is in use");
      const gateway = createServer();
      await new Promise<void>((resolve) => gateway.listen({ host: "127.0.0.1", port, reusePort: true }, resolve));
      closeDoors(doors);
      const fixed = openDoors("127.0.0.1", { http: port, grpc: 0 }, "reusePort");
      await expect(fixed).rejects.toThrow(`port ${port} on 127.0.0.1 is in use by another program`);
      await new Promise((resolve) => gateway.close(resolve));
      const again = await openDoors("127.0.0.1", { http: port, grpc: 0 }, "reusePort");
      expect(portsOf(again).http).toBe(port);
      closeDoors(again);
    },
  );

  test("an address that is not this machine's is named with its setting", async () => {
    await expect(openDoors("192.0.2.1", { http: 0, grpc: 0 }, "handoff")).rejects.toThrow("(--host, EARSHOT_HOST)");
  });

  test("are shared by the kernel on Linux, handed over elsewhere, and as asked", () => {
    expect(resolvePortSharing("auto", "linux")).toBe("reusePort");
    expect(resolvePortSharing("auto", "darwin")).toBe("handoff");
    expect(resolvePortSharing("auto", "win32")).toBe("handoff");
    expect(resolvePortSharing("handoff", "linux")).toBe("handoff");
    expect(() => resolvePortSharing("reusePort", "darwin")).toThrow("works on Linux only");
  });

  test("only loopback counts as this machine alone", () => {
    const loopback = [
      "127.0.0.1",
      "127.9.9.9",
      "::1",
      "0:0:0:0:0:0:0:1",
      "::ffff:127.0.0.1",
      "::ffff:7f00:1",
      "localhost",
    ];
    for (const host of loopback) expect(isLoopback(host), host).toBe(true);
    const open = [
      "0.0.0.0",
      "::",
      "::ffff:0.0.0.0",
      "10.0.0.1",
      "::ffff:10.0.0.1",
      "fd00::1",
      "127.evil.com",
      "localhost.evil.com",
    ];
    for (const host of open) {
      expect(isLoopback(host)).toBe(false);
    }
  });
});

describe("the lock of a state folder", () => {
  test("is held once, and free again when released", () => {
    const lock = takeLock(folder);
    expect(lock.tookOver).toBe(false);
    expect(() => takeLock(folder)).toThrow(CannotStart);
    expect(() => takeLock(folder)).toThrow(`(process ${process.pid}); end it, or choose another folder with --state`);
    lock.listensAt("http://localhost:1234");
    expect(() => takeLock(folder)).toThrow(`(process ${process.pid}, http://localhost:1234); end it`);
    lock.release();
    lock.release();
    takeLock(folder).release();
  });

  test.each([
    ["names a process that is gone", '{"pid":4194304,"startedAt":"1"}'],
    ["names a process id that another program has by now", `{"pid":${process.pid},"startedAt":"1"}`],
    ["is half-written", '{"pid":'],
    ["is empty", ""],
  ])("that %s is taken over", (_what, content) => {
    writeFileSync(join(folder, "lock"), content);
    const lock = takeLock(folder);
    expect(lock.tookOver).toBe(true);
    expect(() => takeLock(folder)).toThrow(CannotStart);
    lock.release();
  });
});

describe("a log", () => {
  test("starts empty and is turned over once it is too long", async () => {
    mkdirSync(join(folder, "logs"));
    writeFileSync(join(folder, "logs", "router-0.log"), "of an earlier start");
    const logs = new Logs(join(folder, "logs"), 10);
    const descriptor = logs.descriptorOf("router-0");
    expect(logs.descriptorOf("router-0")).toBe(descriptor);
    writeSync(descriptor, "0123456789");
    logs.turnOver();
    expect(readFileSync(logs.pathOf("router-0"), "utf8")).toBe("0123456789");
    writeSync(descriptor, "a");
    logs.turnOver();
    writeSync(descriptor, "b");
    expect(readFileSync(`${logs.pathOf("router-0")}.1`, "utf8")).toBe("0123456789a");
    expect(readFileSync(logs.pathOf("router-0"), "utf8")).toBe("b");
    rmSync(join(folder, "logs"), { recursive: true });
    writeSync(descriptor, "and its folder is gone");
    logs.turnOver();
    await logs.close();
    await logs.close();
  });
});

test("the slots of an installation are told what they read and nothing more", () => {
  const { config } = loadConfig("standalone", { argv: ["--routers", "3", "--gateways", "1"], env: {} });
  const slots = slotsOf({ config, peersFolder: "/run", peerSecret: "p", node: "n" });
  expect(slots.map(({ name }) => name)).toEqual([
    "operator-0",
    "router-0",
    "router-1",
    "router-2",
    "gateway-0",
    "presence-0",
  ]);
  for (const slot of slots) {
    expect(slot.environment).toMatchObject({
      EARSHOT_NAME: slot.name,
      EARSHOT_PEERS: "folder:/run",
      EARSHOT_PEER_SECRET: "p",
    });
  }
  const [operator, router, , , gateway] = slots;
  expect(operator?.environment).not.toHaveProperty("EARSHOT_SECRET");
  expect(router?.environment).not.toHaveProperty("EARSHOT_GRPC_PORT");
  expect(gateway?.environment).toHaveProperty("EARSHOT_GRPC_PORT");
});
