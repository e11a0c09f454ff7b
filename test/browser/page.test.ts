// The page at `/` in a real Chromium, as its user sees it. What it does when something fails is in page-failures.test.ts.

import { spawn, spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CHROMIUM, launchBrowser, NEEDS_CHROMIUM, Tab } from "../harness/browser.ts";
import { TEST_SECRET } from "../harness/fleet.ts";
import { call, publish } from "../harness/http.ts";
import { pageTopics } from "../harness/page-topics.ts";
import { type Standalone, startStandalone } from "../harness/standalone.ts";
import { signToken } from "../harness/token.ts";
import { until } from "../harness/until.ts";

const WAIT_MS = 30_000;

/** Milliseconds for one test: none takes a tenth of it where nothing else runs. */
const TEST_MS = 120_000;

describe.skipIf(CHROMIUM === undefined)(`the page${NEEDS_CHROMIUM}`, { timeout: TEST_MS }, () => {
  let folder: string;
  let standalone: Standalone;
  let browser: Browser;
  beforeAll(async () => {
    folder = pageTopics();
    standalone = await startStandalone({
      env: { EARSHOT_TOPICS: join(folder, "topics"), EARSHOT_SECRET: TEST_SECRET },
    });
    browser = await launchBrowser();
  });
  afterAll(async () => {
    await browser?.close();
    await standalone?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const url = (topicId?: string): string =>
    `${standalone.http.replace("127.0.0.1", "localhost")}/${topicId === undefined ? "" : `?topic=${topicId}`}`;
  const openTab = async (topicId: string, options: Parameters<typeof Tab.open>[2] = {}): Promise<Tab> => {
    const tab = await Tab.open(browser, url(topicId), options);
    await tab.listening(topicId);
    return tab;
  };

  test("listens to default.demo at once, loads nothing from elsewhere, and its console is silent", async () => {
    const tab = await Tab.open(browser, url());
    await tab.listening("default.demo");
    expect([...tab.hosts]).toEqual([new URL(url()).host]);
    expect(await tab.page.title()).toBe("default.demo · Earshot");
    await tab.closeContent();
  });

  test("hears what it says, and tells how many it was delivered to and how long that took", async () => {
    const tab = await openTab("default.demo:speak");
    await tab.say("hello");
    await tab.hears('"hello"');
    await tab.page.getByText(/^delivered_to 1 · [\d.,]+ ms$/).waitFor();
    expect(await tab.text("#message-list .who")).toBe("you");
    expect(await tab.page.getByLabel("Say something").inputValue()).toBe("");
    await tab.closeContent();
  });

  test("shows payloads byte for byte, and what looks like markup as text", async () => {
    const tab = await openTab("default.demo:bytes");
    const number = '{"n": 12345678901234567890,"x":1.0,"n":2}';
    await tab.say(number);
    await tab.hears(number);
    const hostile = `<img src=x onerror="document.title='taken'"><script>document.title='taken'</script>`;
    await publish(standalone.http, "default.demo:bytes", hostile);
    await tab.hears(JSON.stringify(hostile));
    expect(await tab.page.locator("#message-list img, #message-list script").count()).toBe(0);
    expect(await tab.page.title()).toBe("default.demo:bytes · Earshot");
    await call(standalone.http, "POST", "/api/v1/topics/default.demo:bytes/publish", {
      body: { payload: "AAEC", encoding: "base64" },
    });
    await tab.hears('"AAEC" (base64)');
    await tab.closeContent();
  });

  test("two tabs hear each other and see who is here, and one that leaves is gone", async () => {
    const first = await openTab("default.demo:two");
    const second = await openTab("default.demo:two");
    await first.page.getByText("2 users, 2 connections").waitFor();
    await second.page.getByText("2 users, 2 connections").waitFor();
    await first.say("from the first");
    await second.hears('"from the first"');
    await first.page.getByText(/^delivered_to 2 · /).waitFor();
    const speaker = await second.text("#message-list .who");
    expect(speaker).toMatch(/^anonymous:/);
    expect((await second.text("#here")).split("\n").toSorted()).toContain(speaker);
    expect(await first.text("#here")).toContain(`${speaker} (you)`);
    await first.closeContent();
    await second.page.getByText("1 user, 1 connection").waitFor();
    await second.closeContent();
  });

  test("where a Topic keeps a count it says so", async () => {
    const tab = await openTab("default.counted");
    await tab.page.getByText("1 connection", { exact: true }).waitFor();
    await tab.page.getByText("This Topic keeps a count and no names.").waitFor();
    await tab.closeContent();
  });

  test("a token opens what is private; it is in no URL and no storage", async () => {
    const tab = await Tab.open(browser, url("default.private"));
    await tab.page
      .getByText(/Not listening: topic_not_found/)
      .first()
      .waitFor();
    const token = signToken({ sub: "alice", earshot: { info: { name: "Alice <b>" } } });
    await tab.page.getByText("Token", { exact: true }).click();
    await tab.page.getByLabel("A token, where the topic needs one").fill(token);
    await tab.page.getByRole("button", { name: "Listen" }).click();
    await tab.listening("default.private");
    await tab.say("mine");
    await tab.hears('"mine"');
    await until(async () => (await tab.text("#here")) === 'alice (you) {"name":"Alice <b>"}', "alice is here", WAIT_MS);
    expect(await tab.text("#snippet")).toContain("Bearer $TOKEN");
    expect(tab.page.url()).not.toContain(token);
    expect(await tab.page.content()).not.toContain(token);
    expect(await tab.page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length")).toBe(0);
    await tab.closeContent();
  });

  test("a bad token is told, and nobody is shut out by it", async () => {
    const tab = await openTab("default.demo:bad");
    await tab.page.getByText("Token", { exact: true }).click();
    await tab.page.getByLabel("A token, where the topic needs one").fill("nonsense");
    await tab.page.getByRole("button", { name: "Listen" }).click();
    await tab.page.locator("#message-list .notice", { hasText: "unauthenticated" }).waitFor();
    await tab.listening("default.demo:bad");
    await tab.closeContent();
  });

  test("another topic is chosen in the box, stands in the URL, and Back leads back", async () => {
    const tab = await openTab("default.demo:one");
    await tab.say("in one");
    await tab.hears('"in one"');
    await tab.page.getByLabel("Topic", { exact: true }).fill("default.demo:other");
    await tab.page.keyboard.press("Enter");
    await tab.listening("default.demo:other");
    expect(new URL(tab.page.url()).searchParams.get("topic")).toBe("default.demo:other");
    expect(await tab.page.locator("#message-list li").count()).toBe(0);
    await publish(standalone.http, "default.demo:one", "not for us");
    await publish(standalone.http, "default.demo:other", "for us");
    await tab.hears('"for us"');
    expect(await tab.page.locator("#message-list li").count()).toBe(1);
    await tab.page.goBack();
    await tab.listening("default.demo:one");
    await tab.page.getByLabel("Topic", { exact: true }).fill("no topic id");
    await tab.page.keyboard.press("Enter");
    await tab.page
      .getByText(/Not listening: topic_id_invalid/)
      .first()
      .waitFor();
    await tab.closeContent();
  });

  test("keeps the last 200 messages, follows the newest, and leaves a reader further up alone", async () => {
    const tab = await openTab("default.demo:many");
    const speak = async (from: number, count: number): Promise<void> => {
      const messages = Array.from({ length: count }, (_, index) => ({
        topic_id: "default.demo:many",
        payload: from + index,
      }));
      expect((await call(standalone.http, "POST", "/api/v1/publish", { body: { messages } })).status).toBe(200);
    };
    const list = tab.page.locator("#messages");
    const scroll = (): Promise<number> => list.evaluate((element) => element.scrollTop);
    for (const from of [0, 100, 200]) await speak(from, 100);
    await tab.hears("299");
    expect(await tab.page.locator("#message-list li").count()).toBe(200);
    expect(await tab.text("#messages-count")).toBe("300 heard, the last 200 shown");
    expect(
      await list.evaluate((element) => element.scrollHeight - element.scrollTop - element.clientHeight),
    ).toBeLessThan(2);
    await list.evaluate((element) => {
      element.scrollTop = 0;
    });
    await until(async () => (await scroll()) === 0, "it is scrolled up");
    const field = tab.page.getByLabel("Say something");
    await field.focus();
    await speak(300, 3);
    await tab.page.getByRole("button", { name: "3 new below" }).waitFor();
    expect(
      await list.evaluate((element) => element.scrollHeight - element.scrollTop - element.clientHeight),
    ).toBeGreaterThan(500);
    expect(await field.evaluate((element) => element.matches(":focus"))).toBe(true);
    await tab.page.getByRole("button", { name: "3 new below" }).click();
    await until(async () => (await scroll()) > 500, "it is at the newest");
    await tab.closeContent();
  });

  test("gives code for the topic at hand, to be copied", async () => {
    const tab = await Tab.open(browser, url("default.demo:code"), {
      permissions: ["clipboard-read", "clipboard-write"],
    });
    await tab.listening("default.demo:code");
    expect(await tab.text("#snippet")).toContain(
      `curl -N ${url().slice(0, -1)}/api/v1/topics/default.demo:code/subscribe`,
    );
    await tab.page.getByText("Python", { exact: true }).click();
    expect(await tab.text("#snippet")).toContain("from urllib.request import");
    await tab.page.getByRole("button", { name: "Copy" }).click();
    await tab.page.getByRole("button", { name: "Copied" }).waitFor();
    expect(await tab.page.evaluate("navigator.clipboard.readText()")).toBe(
      await tab.page.locator("#snippet").textContent(),
    );
    await tab.closeContent();
  });

  test("listening to the same topic again changes nothing that is shown", async () => {
    const tab = await openTab("default.demo:again");
    await tab.page.getByText("1 user, 1 connection").waitFor();
    await tab.say("before");
    await tab.hears('"before"');
    await tab.page.getByRole("button", { name: "Listen" }).click();
    await tab.listening("default.demo:again");
    await tab.page.getByText("1 user, 1 connection").waitFor();
    await tab.hears('"before"');
    await tab.closeContent();
  });

  const PROGRAMS = { curl: "curl", JavaScript: process.execPath, Python: "python3" };
  const SNIPPETS = (["curl", "JavaScript", "Python"] as const).flatMap((language) =>
    ["without", "with"].map((how) => ({ language, how, program: PROGRAMS[language] })),
  );
  const skipped = SNIPPETS.filter(({ program }) => spawnSync(program, ["--version"]).status !== 0);
  for (const { language } of skipped) test.skip(`the ${language} code (skipped: its program is not installed)`);

  test.each(
    SNIPPETS.filter((snippet) => !skipped.includes(snippet)),
  )("the $language code $how a token speaks and hears as it stands", async ({ language, how, program }) => {
    const topicId = how === "without" ? `default.demo:${language}` : "default.private";
    const alice = signToken({ sub: "alice" });
    const tab = await Tab.open(browser, url(topicId));
    if (how === "with") {
      await tab.page.getByText("Token", { exact: true }).click();
      await tab.page.getByLabel("A token, where the topic needs one").fill(alice);
      await tab.page.getByRole("button", { name: "Listen" }).click();
    }
    await tab.listening(topicId);
    await tab.page.locator("#languages").getByText(language, { exact: true }).click();
    const code = await tab.text("#snippet");
    const [hear = "", speak = ""] = code.split("# Speak");
    const runs = {
      curl: [
        ["sh", "-c", speak],
        ["sh", "-c", hear],
      ],
      JavaScript: [[program, "--input-type=module", "-e", `const TOKEN = "${alice}";\n${code}`]],
      Python: [[program, "-u", "-c", `TOKEN = "${alice}"\n${code}`]],
    }[language];
    const started = runs.map(([file = "", ...argv]) => spawn(file, argv, { env: { ...process.env, TOKEN: alice } }));
    let output = "";
    for (const child of started) child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    try {
      await tab.hears('"hi"');
      await until(
        async () => {
          await publish(standalone.http, topicId, "to the snippet", { token: alice });
          return output.includes("to the snippet");
        },
        `${language} hears`,
        WAIT_MS,
      );
      if (language !== "JavaScript") expect(output).toContain("delivered_to");
    } finally {
      for (const child of started) child.kill("SIGKILL");
    }
    await tab.closeContent();
  });

  test("everything is reached and done with the keyboard alone", async () => {
    const tab = await openTab("default.demo:keys");
    const { keyboard } = tab.page;
    const focused = (): Promise<string> =>
      tab.page.evaluate(
        "document.activeElement.id || document.activeElement.value || document.activeElement.textContent.trim()",
      );
    const outline = `(() => {
      const { activeElement } = document;
      const shown = activeElement.matches("input[type=radio]") ? activeElement.nextElementSibling : activeElement;
      return getComputedStyle(shown).outlineStyle;
    })()`;
    const order = ["topic", "Listen", "Token", "messages", "payload", "Speak"];
    for (const name of [...order, "ticker-toggle", "kill", "curl", "snippet", "copy"]) {
      await keyboard.press("Tab");
      expect([await focused(), await tab.page.evaluate(outline)]).toEqual([name, "solid"]);
    }
    await keyboard.press("Shift+Tab");
    await keyboard.press("Shift+Tab");
    expect(await focused()).toBe("curl");
    await keyboard.press("ArrowRight");
    expect(await tab.text("#snippet")).toContain("new WebSocket");
    for (let presses = 0; presses < 4; presses++) await keyboard.press("Shift+Tab");
    expect(await focused()).toBe("payload");
    await keyboard.type("typed");
    await keyboard.press("Enter");
    await tab.hears('"typed"');
    expect(await focused()).toBe("payload");
    await keyboard.press("Tab");
    await keyboard.press("Tab");
    await keyboard.press("Space");
    await tab.page.getByRole("button", { name: "Stop the ticker" }).waitFor();
    await tab.page.getByText(/^\d+ heard · 0 lost · 0 doubled$/).waitFor();
    await keyboard.press("Space");
    await tab.page.getByRole("button", { name: "Start the ticker" }).waitFor();
    await tab.closeContent();
  });

  test("the ticker stands still while the page is hidden", async () => {
    const tab = await openTab("default.demo:hidden");
    const spoken = { frames: 0 };
    tab.page.on("websocket", () => expect.unreachable("there is one connection"));
    const hide = (hidden: boolean): Promise<unknown> =>
      tab.page.evaluate(
        `Object.defineProperty(document, "hidden", { value: ${hidden}, configurable: true }); document.dispatchEvent(new Event("visibilitychange"))`,
      );
    await tab.page.getByRole("button", { name: "Start the ticker" }).click();
    const heard = async (): Promise<number> => Number.parseInt(await tab.text("#ticker-counts"), 10);
    await until(async () => (await heard()) > 10, "it ticks", WAIT_MS);
    await hide(true);
    await until(
      async () => {
        const before = spoken.frames;
        spoken.frames = await heard();
        return before === spoken.frames && before > 0;
      },
      "it stands still",
      WAIT_MS,
    );
    await hide(false);
    await until(async () => (await heard()) > spoken.frames + 10, "it ticks again", WAIT_MS);
    expect(await tab.text("#ticker-counts")).toMatch(/ · 0 lost · 0 doubled$/);
    await tab.closeContent();
  });

  test("where a Topic has no channels the ticker says that it cannot run, and nothing is killed for it", async () => {
    const tab = await openTab("default.counted");
    await tab.page.getByRole("button", { name: "Kill a router" }).click();
    await tab.page.getByText(/^The ticker cannot run here: No such topic/).waitFor();
    await tab.page.getByRole("button", { name: "Start the ticker" }).waitFor();
    expect(await tab.page.locator("#failovers li").count()).toBe(0);
    await tab.closeContent();
  });

  /** Texts whose contrast with what is behind them is below WCAG's AA; run in the page. */
  const FAINT = `(() => {
    const channel = (value) => { const part = value / 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; };
    const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return { r, g, b, a }; };
    const light = ({ r, g, b }) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const behind = (element) => { for (let at = element; at; at = at.parentElement) { const colour = parse(getComputedStyle(at).backgroundColor); if (colour.a > 0) return colour; } return { r: 255, g: 255, b: 255 }; };
    const faint = [];
    for (const element of document.querySelectorAll("body *")) {
      const hasText = element.matches("input:not([type=radio])") || [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== "");
      if (!hasText || element.closest(".unseen, noscript") || element.getClientRects().length === 0) continue;
      const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (ratio < 4.5) faint.push(element.tagName + "#" + element.id + "." + element.className + " " + ratio.toFixed(2));
    }
    return faint;
  })()`;

  test.each([
    ["light", 1280],
    ["dark", 1280],
    ["light", 320],
    ["dark", 375],
  ] as const)("can be read %s at %i pixels, without sideways scrolling", async (colorScheme, width) => {
    const topicId = `default.demo:${"wide".repeat(30)}`;
    const tab = await openTab(topicId, { viewport: { width, height: 800 }, colorScheme, hasTouch: width < 500 });
    await tab.say("x".repeat(300));
    await tab.hears(JSON.stringify("x".repeat(300)));
    await tab.page.getByRole("button", { name: "Start the ticker" }).click();
    await tab.page.getByText(/^\d+ heard · 0 lost · 0 doubled$/).waitFor();
    expect(await tab.overflows()).toBe(false);
    expect(await tab.page.evaluate(FAINT)).toEqual([]);
    const small = await tab.page.evaluate(
      `[...document.querySelectorAll("button, input:not([type=radio]), summary, .languages label")].filter((element) => element.getClientRects().length > 0 && element.getBoundingClientRect().height < 24).map((element) => element.id || element.tagName)`,
    );
    expect(small).toEqual([]);
    await tab.closeContent();
  });
});
