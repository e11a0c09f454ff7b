// Owns: the words about the connection at the top of the page. A countdown is shown, and not said aloud each second.

import type { ConnectionState } from "./connection.ts";
import { announce, at } from "./dom.ts";

/** What became of the subscription to the page's topic. */
export type Subscription =
  | { readonly kind: "asked" }
  | { readonly kind: "listening" }
  | { readonly kind: "refused"; readonly why: string };

/** What style.css has a mark for. */
type Kind = "connecting" | "waiting" | "listening" | "ended";

const COUNTDOWN_MS = 250;

export class StateView {
  readonly #state = at("state", HTMLElement);
  readonly #text = at("state-text", HTMLElement);
  readonly #again = at("connect-again", HTMLButtonElement);
  #countdown: number | undefined;
  #announced: Kind = "connecting";
  #announcedText = "";

  constructor(connectAgain: () => void) {
    this.#again.addEventListener("click", connectAgain);
  }

  show(topicId: string, connection: ConnectionState, subscription: Subscription): void {
    clearInterval(this.#countdown);
    this.#again.hidden = connection.kind !== "ended";
    switch (connection.kind) {
      case "connecting":
        return this.#say("connecting", "Connecting…");
      case "waiting": {
        this.#say("waiting", `Reconnecting: ${connection.why}`);
        const count = (): void => {
          const seconds = Math.max(0, Math.ceil((connection.untilMs - performance.now()) / 1_000));
          this.#text.textContent = `Reconnecting in ${seconds} s: ${connection.why}`;
        };
        count();
        this.#countdown = setInterval(count, COUNTDOWN_MS);
        return;
      }
      case "ended":
        return this.#say("ended", `Not connected: ${connection.why}`);
      case "open":
      case "moving":
        return this.#showSubscription(topicId, subscription, connection.kind === "moving");
    }
  }

  #showSubscription(topicId: string, subscription: Subscription, moving: boolean): void {
    switch (subscription.kind) {
      case "asked":
        return this.#say("connecting", `Subscribing to ${topicId}…`);
      case "listening":
        return this.#say("listening", `Listening to ${topicId}${moving ? ", moving to another gateway" : ""}`);
      case "refused":
        return this.#say("ended", `Not listening: ${subscription.why}`);
    }
  }

  #say(kind: Kind, text: string): void {
    this.#state.dataset["kind"] = kind;
    this.#text.textContent = text;
    // Aloud: that it listens, that it broke, that it is over. Not every try in between.
    const isNews = kind !== "connecting" && (kind !== "waiting" || this.#announced !== "waiting");
    if (isNews && text !== this.#announcedText) announce(text);
    if (isNews) [this.#announced, this.#announcedText] = [kind, text];
  }
}
