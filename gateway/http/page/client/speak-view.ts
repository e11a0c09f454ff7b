// Owns: the box that speaks: what is typed goes out as JSON text, and what became of it is told, with the time it took.

import type { Connection, PublishAnswer } from "./connection.ts";
import { at, millisecondsText } from "./dom.ts";
import { typedPayload } from "./frames.ts";

export class SpeakView {
  readonly #form = at("speak", HTMLFormElement);
  readonly #input = at("payload", HTMLInputElement);
  readonly #kind = at("payload-kind", HTMLElement);
  readonly #result = at("published", HTMLElement);
  readonly #kindAtFirst = this.#kind.textContent;

  /** Where it goes. */
  topicId = "";

  constructor(connection: Connection) {
    this.#input.addEventListener("input", () => this.#showKind());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#speak(connection);
    });
  }

  #speak(connection: Connection): void {
    const typed = this.#input.value;
    const startedAtMs = performance.now();
    const sent = connection.publish(this.topicId, typedPayload(typed).text, (answer) => {
      this.#show(resultOf(answer, performance.now() - startedAtMs), answer.type !== "published");
    });
    if (!sent) {
      this.#show("Not connected, so nothing was sent.", true);
      return;
    }
    this.#input.value = "";
    this.#showKind();
  }

  #showKind(): void {
    const { value } = this.#input;
    this.#kind.textContent =
      value === ""
        ? this.#kindAtFirst
        : typedPayload(value).isJson
          ? "Goes out as JSON."
          : "Goes out as a JSON string.";
  }

  #show(text: string, isBad: boolean): void {
    this.#result.textContent = text;
    this.#result.classList.toggle("bad", isBad);
  }
}

function resultOf(answer: PublishAnswer, tookMs: number): string {
  switch (answer.type) {
    case "published":
      return answer.dropped
        ? `Nobody was given it (${answer.reason}) · ${millisecondsText(tookMs)}`
        : `delivered_to ${answer.delivered_to.toLocaleString("en")} · ${millisecondsText(tookMs)}`;
    case "error":
      return `${answer.code}: ${answer.message}`;
    case "broke":
      return "The connection broke before the answer: it may have been heard.";
  }
}
