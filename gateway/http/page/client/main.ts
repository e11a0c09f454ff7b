// Owns: the page put together: which topic is listened to, and which part of the page is told of a frame. The topic stands
// in the URL, so that it can be sent to somebody; the token never does.

import { CodeView } from "./code-view.ts";
import { Connection, type ConnectionState } from "./connection.ts";
import { at } from "./dom.ts";
import { FailoverView } from "./failover-view.ts";
import type { Frame } from "./frames.ts";
import { HereView } from "./here-view.ts";
import { changed, type Here, NOBODY } from "./members.ts";
import { MessagesView } from "./messages-view.ts";
import { SpeakView } from "./speak-view.ts";
import { StateView, type Subscription } from "./state-view.ts";
import { Ticker } from "./ticker.ts";

const TOPIC_ID_DEFAULT = "default.demo";

/** Where the page is: behind a proxy perhaps below some path, and so is the API. */
const BASE = new URL("./", location.href);

class Page {
  readonly #topicInput = at("topic", HTMLInputElement);
  readonly #tokenInput = at("token", HTMLInputElement);
  readonly #messages = new MessagesView();
  readonly #hereView = new HereView();
  readonly #code = new CodeView();
  readonly #state = new StateView(() => this.#connect());
  readonly #connection: Connection;
  readonly #ticker: Ticker;
  readonly #failover: FailoverView;
  readonly #speak: SpeakView;
  #topicId = "";
  #token = "";
  #ownId = "";
  #subscription: Subscription = { kind: "asked" };
  #here: Here = NOBODY;

  constructor() {
    const url = new URL("ws/subscribe", BASE);
    url.protocol = url.protocol.replace("http", "ws");
    this.#connection = new Connection(url.href, {
      stateChanged: (state) => this.#stateChanged(state),
      frame: (frame, text) => this.#receive(frame, text),
    });
    this.#ticker = new Ticker(this.#connection, {
      arrived: (arrival) => this.#failover.arrived(arrival),
      failed: (why) => this.#failover.failed(why),
    });
    const nonce = document.querySelector<HTMLMetaElement>('meta[name="earshot-kill"]')?.content ?? "";
    this.#failover = new FailoverView({
      ticker: this.#ticker,
      topicId: () => this.#topicId,
      killing: () => (nonce === "" ? undefined : { base: BASE, nonce, token: this.#token }),
    });
    this.#speak = new SpeakView(this.#connection);
  }

  start(): void {
    at("where", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    addEventListener("popstate", () => this.#listen(topicOfUrl()));
    addEventListener("online", () => this.#connection.networkChanged());
    addEventListener("offline", () => this.#connection.networkChanged());
    this.#listen(topicOfUrl());
    this.#connect();
  }

  #submit(): void {
    const topicId = this.#topicInput.value.trim();
    if (topicId === "") return;
    const url = new URL(location.href);
    url.searchParams.set("topic", topicId);
    if (topicId !== topicOfUrl()) history.pushState(null, "", url);
    this.#listen(topicId);
    if (this.#tokenInput.value.trim() !== this.#token || this.#connection.state.kind === "ended") this.#connect();
  }

  #connect(): void {
    this.#token = this.#tokenInput.value.trim();
    this.#showCode();
    this.#connection.connect(this.#token);
  }

  #listen(topicId: string): void {
    this.#topicInput.value = topicId;
    if (topicId === this.#topicId && this.#subscription.kind === "listening") return;
    if (this.#topicId !== "" && this.#topicId !== topicId) {
      this.#connection.unsubscribe(this.#topicId);
      this.#failover.stop();
      this.#messages.clear();
    }
    this.#topicId = topicId;
    this.#speak.topicId = topicId;
    document.title = `${topicId} · Earshot`;
    this.#here = NOBODY;
    this.#hereView.show(this.#here, this.#ownId);
    this.#showCode();
    this.#subscription = { kind: "asked" };
    this.#connection.subscribe(topicId, true);
    this.#showState();
  }

  #showCode(): void {
    const base = BASE.href.replace(/\/$/, "");
    this.#code.show({ base, topicId: this.#topicId, withToken: this.#token !== "" });
  }

  #showState(): void {
    this.#state.show(this.#topicId, this.#connection.state, this.#subscription);
  }

  #stateChanged(state: ConnectionState): void {
    switch (state.kind) {
      case "open":
      case "moving":
        this.#ownId = state.userId;
        break;
      case "connecting":
      case "waiting":
      case "ended":
        if (this.#subscription.kind === "listening") {
          this.#messages.notice("The connection ended here. What is spoken until it is back is not heard.");
        }
        this.#subscription = { kind: "asked" };
        this.#ticker.pause();
        break;
    }
    this.#showState();
  }

  #receive(frame: Frame, text: string): void {
    const topicId = "topic_id" in frame ? frame.topic_id : undefined;
    if (topicId !== undefined && topicId === this.#ticker.topicId) this.#receiveTick(frame, text);
    if (topicId === undefined || topicId === this.#topicId) this.#receiveOwn(frame, text);
  }

  #receiveTick(frame: Frame, text: string): void {
    switch (frame.type) {
      case "subscribed":
        if (!document.hidden) this.#ticker.resume();
        return;
      case "message":
        return this.#ticker.hear(frame, text);
      case "error":
        return this.#failover.failed(frame.message);
      case "unsubscribed":
        return this.#failover.failed(frame.reason);
      case "gap":
      case "presence":
      case "published":
      case "reconnect":
      case "token_expiring":
      case "welcome":
      case "token":
      case "pong":
        return;
    }
  }

  #receiveOwn(frame: Frame, text: string): void {
    switch (frame.type) {
      case "message":
        return this.#messages.message(frame, text, this.#ownId);
      case "gap": {
        const missed = frame.missed === undefined ? "Messages may be missing" : `${frame.missed} messages are missing`;
        return this.#messages.notice(`${missed} here: gap ${frame.reason}`);
      }
      case "presence":
        this.#here = changed(this.#here, frame);
        return this.#hereView.show(this.#here, this.#ownId);
      case "subscribed":
        this.#subscription = { kind: "listening" };
        return this.#showState();
      case "unsubscribed":
        // The answer to our own goodbye, when the same topic was chosen again, has an id or says so.
        if (frame.reason === "requested") return;
        this.#subscription = { kind: "refused", why: frame.reason.replaceAll("_", " ") };
        return this.#showState();
      case "error":
        return this.#refused(frame.id === "subscribe", `${frame.code}: ${frame.message}`);
      case "token_expiring":
        return this.#messages.notice(`The token ends at ${frame.token_expires_at}; paste a new one to stay.`);
      case "published":
      case "reconnect":
      case "welcome":
      case "token":
      case "pong":
        return;
    }
  }

  #refused(isSubscribe: boolean, why: string): void {
    if (!isSubscribe) {
      this.#messages.notice(why);
      return;
    }
    this.#subscription = { kind: "refused", why };
    this.#showState();
  }
}

function topicOfUrl(): string {
  return new URLSearchParams(location.search).get("topic")?.trim() || TOPIC_ID_DEFAULT;
}

new Page().start();
