// The page at `/` in a real Chromium while something fails: a router that its own button kills, its gateway, its network;
// and another site's page that would like to press the button. What the page counts is held against the frames of its
// own WebSocket, read by the browser's driver.

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CHROMIUM, launchBrowser, NEEDS_CHROMIUM, Tab } from "../harness/browser.ts";
import { TEST_SECRET } from "../harness/fleet.ts";
import { call, publish } from "../harness/http.ts";
import { isAlive, type Standalone, startStandalone } from "../harness/standalone.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const WAIT_MS = 60_000;
const KILL_PATH = "/api/v1/standalone/kill-router";

/** What a page's WebSockets carry, both ways. */
class Wire {
  readonly spoken = new Map<string, number>();
  readonly heard = new Map<string, number>();
  readonly incarnations = new Set<string>();
  /** Of the newest `welcome`. */
  connectionId = "";

  constructor(page: Page) {
    page.on("websocket", (socket) => {
      socket.on("framesent", ({ payload }) => {
        const frame = JSON.parse(String(payload)) as Record<string, unknown>;
        if (frame["type"] === "publish") count(this.spoken, JSON.stringify(frame["payload"]));
      });
      socket.on("framereceived", ({ payload }) => {
        const frame = JSON.parse(String(payload)) as Record<string, string>;
        if (frame["type"] === "welcome") this.connectionId = frame["connection_id"] ?? "";
        if (frame["type"] !== "message") return;
        count(this.heard, JSON.stringify(frame["payload"]));
        this.incarnations.add(frame["message_id"]?.split("-")[0] ?? "");
      });
    });
  }
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** Milliseconds for one test, of which each starts and ends processes: none takes a tenth of it where nothing else runs. */
const TEST_MS = 180_000;

describe.skipIf(CHROMIUM === undefined)(
  `the page, while something fails${NEEDS_CHROMIUM}`,
  { timeout: TEST_MS },
  () => {
    let standalone: Standalone;
    let browser: Browser;
    beforeAll(async () => {
      standalone = await startStandalone();
      browser = await launchBrowser();
    });
    afterAll(async () => {
      await browser?.close();
      await standalone?.close();
    });

    const home = (): string => standalone.http.replace("127.0.0.1", "localhost");
    const routers = () => standalone.peers().filter(({ role, pid }) => role === "router" && isAlive(pid));

    /** A tab whose frames are counted from its first one on. */
    async function openTab(topicId: string): Promise<{ tab: Tab; wire: Wire }> {
      const tab = await Tab.open(browser, "about:blank");
      const wire = new Wire(tab.page);
      await tab.page.goto(`${home()}/?topic=${topicId}`);
      await tab.listening(topicId);
      return { tab, wire };
    }

    /** Presses the button until a router is killed: one that was killed before may not stand by again yet. */
    async function kill(tab: Tab): Promise<void> {
      const reports = tab.page.locator("#failovers li");
      const before = await reports.count();
      await until(
        async () => {
          const button = tab.page.getByRole("button", { name: "Kill a router" });
          if ((await button.getAttribute("aria-disabled")) !== "true") await button.click();
          return (await reports.count()) > before;
        },
        "a router is killed",
        WAIT_MS,
      );
    }

    test("kills the router of the ticker, and says truthfully how long that was silent and what was lost", async () => {
      const { tab, wire } = await openTab("default.demo");
      await tab.page.getByRole("button", { name: "Start the ticker" }).click();
      await until(() => wire.heard.size > 20, "it ticks", WAIT_MS);
      const topicId = /on (default\.demo:ticker-\w+)\./.exec(await tab.text("#ticker-about"))?.[1] ?? "";
      const other = await openWebSocket(standalone.ws, { topics: [topicId] });
      const watcher = await Tab.open(browser, `${home()}/?topic=${topicId}`);
      await watcher.listening(topicId);
      const before = routers().map(({ pid }) => pid);

      await kill(tab);
      const report = tab.page.locator("#failovers li").first();
      const outcome = report.locator("strong").getByText(/^Next message after \d+\sms · \d+\slost.* · \d+\sdoubled$/);
      await outcome.waitFor();
      const [, name = "", pid = ""] = /(router-\d) \(pid (\d+)\) killed/.exec(await report.innerText()) ?? [];
      expect(before).toContain(Number(pid));
      await until(() => !isAlive(Number(pid)), "that process is dead");
      await report.getByText(/running again after [\d.]+\ss/).waitFor();
      expect(standalone.peer(name)?.pid).not.toBe(Number(pid));

      await tab.page.getByRole("button", { name: "Stop the ticker" }).click();
      const [, lost = "", doubled = ""] =
        /after \d+\sms · (\d+)\slost.* · (\d+)\sdoubled/.exec(await outcome.innerText()) ?? [];
      const missing = [...wire.spoken.keys()].filter((tick) => !wire.heard.has(tick));
      // The last ones were under way when it stopped.
      const spoken = [...wire.spoken.keys()];
      const settled = missing.filter((tick) => spoken.indexOf(tick) < spoken.length - 40);
      expect(Number(lost)).toBe(settled.length);
      expect(Number(doubled)).toBe([...wire.heard.values()].filter((times) => times > 1).length);
      expect(wire.incarnations.size).toBe(2);

      const elsewhere = new Set(other.frames.of("message").map(({ message_id: id }) => String(id).split("-")[0]));
      expect(elsewhere).toEqual(wire.incarnations);
      expect(other.frames.of("gap")).toMatchObject([{ reason: "router_failover" }]);
      await watcher.page.getByText("Messages may be missing here: gap router_failover").waitFor();
      await other.close();
      await watcher.closeContent();
      await tab.closeContent();
    });

    test("says why no router is killed", async () => {
      const alone = await startStandalone({ env: { EARSHOT_ROUTERS: "1" } });
      const tab = await Tab.open(browser, `${alone.http}/`);
      await tab.page.getByRole("button", { name: "Kill a router" }).click();
      await tab.page.getByText(/^No router was killed: only one router carries this topic now/).waitFor();
      expect(tab.complaints.splice(0)).toEqual([expect.stringContaining("status of 409")]);
      await tab.closeContent();
      await alone.close();
    });

    test("where nobody is let in without a token it says so, and a token lets it in and kill", async () => {
      const closed = await startStandalone({ env: { EARSHOT_ANONYMOUS: "false", EARSHOT_SECRET: TEST_SECRET } });
      const tab = await Tab.open(browser, `${closed.http}/`);
      await tab.page.getByText("Not connected: closed 4401: no token, or a bad one").first().waitFor();
      await tab.page.getByText("Token", { exact: true }).click();
      await tab.page.getByLabel("A token, where the topic needs one").fill(signToken({ sub: "alice" }));
      await tab.page.getByRole("button", { name: "Connect again" }).click();
      await tab.listening("default.demo");
      await kill(tab);
      await tab.page.getByText(/running again after/).waitFor();
      await tab.closeContent();
      await closed.close();
    });

    test("its gateway killed, it comes back by itself, says what it missed, and goes on", async () => {
      const { tab, wire } = await openTab("default.demo:gone");
      await tab.say("before");
      await tab.hears('"before"');
      const gateway = standalone
        .peers()
        .find(({ incarnation }) => wire.connectionId.startsWith(incarnation.slice(0, 6)));
      process.kill(gateway?.pid ?? 0, "SIGKILL");
      await tab.page.locator("#message-list .notice", { hasText: "The connection ended here." }).waitFor();
      await tab.listening("default.demo:gone");
      await tab.say("after");
      await tab.hears('"after"');
      await tab.hears('"before"');
      await tab.page.getByText(/^1 user, 1 connection$/).waitFor();
      // Chromium says of itself when a socket cannot be opened.
      tab.complaints.splice(0);
      await tab.closeContent();
    });

    test("its gateway asked to end, it moves, and misses and doubles nothing", async () => {
      const { tab, wire } = await openTab("default.demo:moved");
      const gateway = standalone
        .peers()
        .find(({ incarnation }) => wire.connectionId.startsWith(incarnation.slice(0, 6)));
      const pid = gateway?.pid ?? 0;
      const first = wire.connectionId;
      process.kill(pid, "SIGTERM");
      let spoken = 0;
      const answers: string[] = [];
      await until(
        async () => {
          const answer = await publish(standalone.http, "default.demo:moved", spoken).catch(() => undefined);
          answers.push(`${answer?.status} ${answer?.text}`);
          if (answer?.status === 200) spoken += 1;
          return !isAlive(pid) && wire.connectionId !== first;
        },
        "it has moved, and the gateway has ended",
        WAIT_MS,
      );
      await publish(standalone.http, "default.demo:moved", "the last one");
      await tab.hears('"the last one"');
      const missing = Array.from({ length: spoken }, (_, index) => String(index)).filter((one) => !wire.heard.has(one));
      const notices = await tab.page.locator("#message-list .notice").allInnerTexts();
      const evidence = { missing, notices, answers: answers.slice(0, 3), incarnations: [...wire.incarnations] };
      expect(missing, JSON.stringify(evidence)).toEqual([]);
      expect(notices).toEqual([]);
      // What came over both connections stands in the list once.
      expect(await tab.text("#messages-count")).toMatch(new RegExp(`^${(spoken + 1).toLocaleString("en")} heard`));
      await tab.closeContent();
    });

    test("over a slow network it hears and speaks; without one it says so, and is back when the network is", async () => {
      const { tab } = await openTab("default.demo:slow");
      const cdp = await tab.page.context().newCDPSession(tab.page);
      await cdp.send("Network.enable");
      const network = { latency: 400, downloadThroughput: 25_000, uploadThroughput: 25_000 };
      await cdp.send("Network.emulateNetworkConditions", { offline: false, ...network });
      await tab.page.reload();
      await tab.listening("default.demo:slow");
      await tab.say("slowly");
      await tab.hears('"slowly"');
      await tab.page.getByRole("button", { name: "Start the ticker" }).click();
      await tab.page.getByText(/^[1-9]\d* heard · 0 lost · 0 doubled$/).waitFor();

      await cdp.send("Network.emulateNetworkConditions", { offline: true, ...network });
      await tab.page.getByText(/^Reconnecting in \d+ s: the connection broke$/).waitFor();
      await tab.say("to nobody");
      await tab.page.getByText("Not connected, so nothing was sent.").waitFor();
      expect(await tab.page.getByLabel("Say something").inputValue()).toBe("to nobody");
      await cdp.send("Network.emulateNetworkConditions", {
        offline: false,
        latency: 0,
        downloadThroughput: -1,
        uploadThroughput: -1,
      });
      await tab.listening("default.demo:slow");
      await tab.page.getByRole("button", { name: "Speak" }).click();
      await tab.hears('"to nobody"');
      tab.complaints.splice(0);
      await tab.closeContent();
    });

    describe("another site's page", () => {
      let server: Server;
      let site: string;
      beforeAll(async () => {
        server = createServer((_request, response) => {
          response.setHeader("content-type", "text/html").end("<!doctype html><title>elsewhere</title><body></body>");
        });
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        site = `http://localhost:${(server.address() as AddressInfo).port}/`;
      });
      afterAll(() => server.close());

      test("kills no router, whatever it sends, and reads and frames nothing of ours", async () => {
        const nonce = /earshot-kill" content="([^"]+)"/.exec((await call(home(), "GET", "/")).text)?.[1] ?? "";
        expect(nonce.length).toBeGreaterThan(30);
        const before = routers().map(({ pid }) => pid);
        const tab = await Tab.open(browser, site);
        const ask = (init: object): Promise<string> =>
          tab.page.evaluate(
            `fetch(${JSON.stringify(home() + KILL_PATH)}, ${JSON.stringify({ method: "POST", body: '{"topic_id":"default.demo"}', ...init })}).then((answer) => answer.type + " " + answer.status, (error) => error.name)`,
          );
        // Even with the nonce, which it cannot have.
        const headers = { "content-type": "application/json", "x-earshot-kill": nonce };
        expect(await ask({ headers })).toBe("TypeError");
        expect(await ask({ headers, mode: "no-cors" })).toBe("opaque 0");
        expect(await ask({ headers: { "content-type": "text/plain" } })).toBe("TypeError");
        expect(
          await tab.page.evaluate(`fetch(${JSON.stringify(`${home()}/`)}).then((a) => a.text(), (e) => e.name)`),
        ).toBe("TypeError");
        await tab.page.evaluate(`(() => {
        const frame = document.createElement("iframe");
        frame.src = ${JSON.stringify(`${home()}/`)};
        document.body.append(frame);
        return new Promise((resolve) => { frame.onload = resolve; });
      })()`);
        expect(tab.page.frames().some((frame) => frame.url().startsWith(home()))).toBe(false);
        const answered = tab.page.waitForResponse((response) => response.url().endsWith(KILL_PATH));
        await tab.page.evaluate(`(() => {
        document.body.innerHTML = '<form method="post" enctype="text/plain"><input name=\\'{"topic_id":"default.demo","x":"\\' value=\\'"}\\'></form>';
        document.forms[0].action = ${JSON.stringify(home() + KILL_PATH)};
        document.forms[0].submit();
      })()`);
        expect((await answered).status()).toBe(403);
        expect(routers().map(({ pid }) => pid)).toEqual(before);
        await tab.close();
      });
    });
  },
);
