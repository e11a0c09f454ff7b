// Owns: the list of what was heard: the last rows only, written once a frame of the screen, kept at its end while its reader
// is there and left alone while they read further up. Never takes the focus.

import { at, make } from "./dom.ts";
import { type MessageFrame, payloadText } from "./frames.ts";

/** Rows that stay: what somebody scrolls back through; a busy topic makes as many in a second. */
const ROWS_MAX = 200;
/** Characters of a payload that are shown: several screens of a phone. The largest payload has a million. */
const PAYLOAD_LENGTH_MAX = 4_000;
/** Pixels from the end within which a reader counts as being there. */
const AT_END_PX = 24;

export class MessagesView {
  readonly #scroller = at("messages", HTMLElement);
  readonly #list = at("message-list", HTMLOListElement);
  readonly #empty = at("messages-empty", HTMLElement);
  readonly #count = at("messages-count", HTMLElement);
  readonly #toNewest = at("to-newest", HTMLButtonElement);
  /** Rows to be written. */
  #waiting: HTMLElement[] = [];
  #heard = 0;
  /** Rows below what the reader sees. */
  #unseen = 0;

  constructor() {
    this.#toNewest.addEventListener("click", () => {
      this.#scrollToEnd();
      // The button is about to go, and with it the focus.
      this.#scroller.focus({ preventScroll: true });
    });
    this.#scroller.addEventListener("scroll", () => {
      if (this.#isAtEnd()) this.#sawAll();
    });
  }

  clear(): void {
    this.#waiting = [];
    this.#heard = 0;
    this.#list.replaceChildren();
    this.#empty.hidden = false;
    this.#sawAll();
    this.#showCount();
  }

  message(frame: MessageFrame, text: string, ownId: string): void {
    this.#heard += 1;
    const row = document.createElement("li");
    const isOwn = frame.publisher_id === ownId;
    row.append(
      make("time", clockTime(new Date(frame.timestamp))),
      make("span", isOwn ? "you" : frame.publisher_id, isOwn ? "who you" : "who"),
      make("span", shown(payloadText(text), frame.encoding), "payload"),
    );
    this.#add(row);
  }

  /** Something that a listener must know, where it happened: a gap, a connection that broke. */
  notice(text: string): void {
    this.#add(make("li", text, "notice"));
  }

  #add(row: HTMLElement): void {
    if (this.#waiting.length === 0) requestAnimationFrame(() => this.#write());
    this.#waiting.push(row);
    // A hidden page has no frames: it keeps what will be left of them.
    if (this.#waiting.length > ROWS_MAX) this.#waiting.shift();
  }

  #write(): void {
    const rows = this.#waiting;
    this.#waiting = [];
    const wasAtEnd = this.#isAtEnd();
    this.#list.append(...rows);
    while (this.#list.childElementCount > ROWS_MAX) this.#list.firstElementChild?.remove();
    this.#empty.hidden = this.#list.childElementCount > 0;
    this.#showCount();
    if (wasAtEnd) {
      this.#scrollToEnd();
      return;
    }
    this.#unseen += rows.length;
    this.#toNewest.textContent = `${this.#unseen.toLocaleString("en")} new below`;
    this.#toNewest.hidden = false;
  }

  #showCount(): void {
    const kept = this.#heard > ROWS_MAX ? `, the last ${ROWS_MAX} shown` : "";
    this.#count.textContent = this.#heard === 0 ? "" : `${this.#heard.toLocaleString("en")} heard${kept}`;
  }

  #isAtEnd(): boolean {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < AT_END_PX;
  }

  #scrollToEnd(): void {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#sawAll();
  }

  #sawAll(): void {
    this.#unseen = 0;
    this.#toNewest.hidden = true;
  }
}

function shown(payload: string, encoding: string | undefined): string {
  const left = payload.length - PAYLOAD_LENGTH_MAX;
  const cut =
    left <= 0
      ? payload
      : `${payload.slice(0, PAYLOAD_LENGTH_MAX)}… (${left.toLocaleString("en")} characters more, not shown)`;
  return encoding === undefined ? cut : `${cut} (${encoding})`;
}

function clockTime(date: Date): string {
  const two = (part: number): string => String(part).padStart(2, "0");
  const milliseconds = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${milliseconds}`;
}
