// Owns: a real Chromium for tests, Debian's, driven by playwright-core: one for a file, a context (its own storage) for each
// tab. Every tab keeps what its console said and what failed to load, since a page of ours says nothing there.

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { expect } from "vitest";

/** Where Chromium is; undefined where it is not installed. */
export const CHROMIUM: string | undefined = [
  "/usr/bin/chromium",
  ...onPath("chromium"),
  ...onPath("google-chrome"),
].find((path) => existsSync(path));

/** For the name of a suite that is skipped without it. */
export const NEEDS_CHROMIUM = CHROMIUM === undefined ? " (skipped: chromium is not installed)" : "";

/** Milliseconds that a tab is waited for: a busy machine with two cores and a browser on it. */
const PATIENCE_MS = 60_000;

const ARGUMENTS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM ?? "chromium", args: ARGUMENTS });
}

export class Tab {
  readonly page: Page;
  /** Errors and warnings of the console, exceptions, and requests that failed. */
  readonly complaints: string[] = [];
  /** Addresses that anything was loaded from. */
  readonly hosts = new Set<string>();

  private constructor(page: Page) {
    this.page = page;
    page.setDefaultTimeout(PATIENCE_MS);
    page.on("console", (message) => {
      if (["error", "warning", "assert"].includes(message.type())) this.complaints.push(message.text());
    });
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.on("requestfailed", (request) => this.complaints.push(`${request.url()} ${request.failure()?.errorText}`));
    page.on("request", (request) => this.hosts.add(new URL(request.url()).host));
    page.on("websocket", (socket) => this.hosts.add(new URL(socket.url()).host));
  }

  static async open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Tab> {
    const context = await browser.newContext(options);
    const tab = new Tab(await context.newPage());
    await tab.page.goto(url);
    return tab;
  }

  /** Resolves when the page says that it listens. */
  async listening(topicId: string): Promise<void> {
    await this.page.getByText(`Listening to ${topicId}`, { exact: true }).first().waitFor();
  }

  async say(text: string): Promise<void> {
    await this.page.getByLabel("Say something").fill(text);
    await this.page.getByRole("button", { name: "Speak" }).click();
  }

  /** Resolves when a message with this very payload is in the list. */
  async hears(payload: string): Promise<void> {
    await this.page.locator("#message-list .payload").getByText(payload, { exact: true }).first().waitFor();
  }

  text(selector: string): Promise<string> {
    return this.page.locator(selector).innerText();
  }

  /** Whether anything is wider than the window. */
  overflows(): Promise<boolean> {
    return this.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth");
  }

  async close(): Promise<void> {
    await this.page.context().close();
  }

  /** Closes it; a tab that complained fails. */
  async closeContent(): Promise<void> {
    await this.close();
    expect(this.complaints).toEqual([]);
  }
}

function onPath(program: string): string[] {
  const found = spawnSync("which", [program], { encoding: "utf8" });
  return found.status === 0 ? [found.stdout.trim()] : [];
}
