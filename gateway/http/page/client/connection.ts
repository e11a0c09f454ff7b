// Owns: being connected: one line as a rule, two while the server moves us to another gateway, none while we wait to come
// back. Keeps what is subscribed to across all of them, and answers every publish, if only by "nothing is known".
// Elsewhere: one WebSocket (line.ts), whether and when to come back (comeback.ts), what is shown of it (state-view.ts).

import { comebackOf } from "./comeback.ts";
import { type ErrorFrame, type Frame, type PublishedFrame, publishFrame } from "./frames.ts";
import { Line, type LineEvents } from "./line.ts";

export type ConnectionState =
  | { readonly kind: "connecting" }
  | { readonly kind: "open"; readonly userId: string }
  /** Open still; the server told us to move. */
  | { readonly kind: "moving"; readonly userId: string }
  | { readonly kind: "waiting"; readonly why: string; readonly untilMs: number }
  | { readonly kind: "ended"; readonly why: string };

/** `broke`: the connection ended before the answer. */
export type PublishAnswer = PublishedFrame | ErrorFrame | { readonly type: "broke" };

export interface ConnectionEvents {
  stateChanged(state: ConnectionState): void;
  frame(frame: Frame, text: string): void;
}

/** Message ids remembered: over two lines at once a message may come twice. Seconds of a busy topic. */
const HEARD_MAX = 2_000;
/** Milliseconds that a line we moved away from stays, for answers that are still due. */
const OLD_LINE_MS = 1_000;
/** Publishes without an answer: the server drops what comes faster than 100 a second. */
const UNANSWERED_MAX = 1_000;

interface Unanswered {
  readonly line: Line;
  readonly answered: (answer: PublishAnswer) => void;
}

export class Connection implements LineEvents {
  readonly #url: string;
  readonly #events: ConnectionEvents;
  /** Topic ids, and whether presence is asked for. */
  readonly #wanted = new Map<string, boolean>();
  readonly #unanswered = new Map<string, Unanswered>();
  readonly #heard = new Set<string>();
  #token = "";
  /** The one that speaks. */
  #line: Line | undefined;
  /** The one to move to, and the topics it has not answered for. */
  #next: { readonly line: Line; readonly open: Set<string> } | undefined;
  #state: ConnectionState = { kind: "connecting" };
  #failures = 0;
  #timer: number | undefined;
  /** When to come back, as the last `reconnect` said. */
  #toldAtMs: number | undefined;
  #published = 0;

  constructor(url: string, events: ConnectionEvents) {
    this.#url = url;
    this.#events = events;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get unsentBytes(): number {
    return this.#line?.unsentBytes ?? 0;
  }

  /** Connects anew, as whoever the token names (empty: as nobody in particular). */
  connect(token: string): void {
    this.#token = token;
    this.#failures = 0;
    this.#open();
  }

  subscribe(topicId: string, presence: boolean): void {
    this.#wanted.set(topicId, presence);
    if (this.#line?.isReady === true) sendSubscribe(this.#line, topicId, presence);
  }

  unsubscribe(topicId: string): void {
    if (!this.#wanted.delete(topicId)) return;
    this.#line?.send(JSON.stringify({ type: "unsubscribe", topic_id: topicId }));
  }

  /** Publishes JSON text. False, and nothing is done, while not connected. */
  publish(topicId: string, payload: string, answered: Unanswered["answered"]): boolean {
    const line = this.#line;
    if (line?.isReady !== true || this.#unanswered.size >= UNANSWERED_MAX) return false;
    this.#published += 1;
    const id = `p${this.#published}`;
    this.#unanswered.set(id, { line, answered });
    line.send(publishFrame(id, topicId, payload));
    return true;
  }

  /** The network is there again, or another one: whoever waits tries at once, whoever is connected makes sure. */
  networkChanged(): void {
    if (this.#state.kind === "waiting") this.#open();
    else this.#line?.check();
  }

  ready(line: Line): void {
    if (this.#next?.line === line) this.#next = { line, open: new Set(this.#wanted.keys()) };
    else this.#become({ kind: "open", userId: line.userId });
    for (const [topicId, presence] of this.#wanted) sendSubscribe(line, topicId, presence);
    this.#switchOver();
  }

  frame(line: Line, frame: Frame, text: string): void {
    const isOld = line !== this.#line && line !== this.#next?.line;
    switch (frame.type) {
      case "published":
        this.#answer(frame.id, frame);
        return;
      case "message":
        if (this.#wasHeard(frame.message_id)) return;
        break;
      case "subscribed":
        this.#failures = 0;
        this.#toldAtMs = undefined;
        break;
      case "error":
        if (this.#answer(frame.id, frame)) return;
        break;
      case "reconnect":
        this.#toldAtMs = performance.now() + frame.delay_ms;
        if (frame.closes_in_ms > 0 && line === this.#line) this.#moveAfter(frame.delay_ms);
        return;
      case "presence":
        // Of two lines the newer one knows better.
        if (line !== (this.#next?.line ?? this.#line)) return;
        break;
      case "gap":
      case "unsubscribed":
      case "token_expiring":
        if (isOld) return;
        break;
      case "welcome":
      case "token":
      case "pong":
        return;
    }
    this.#events.frame(frame, text);
    if (line === this.#next?.line && (frame.type === "subscribed" || frame.type === "error")) {
      if (frame.topic_id !== undefined) this.#next.open.delete(frame.topic_id);
      this.#switchOver();
    }
  }

  ended(line: Line, code: number): void {
    this.#breakOff(line);
    if (line === this.#next?.line) {
      // The old line serves until it is closed; then we come back as from any close.
      this.#next = undefined;
      return;
    }
    if (line !== this.#line) return;
    this.#line = undefined;
    if (this.#next !== undefined) {
      // Closed before we had moved: whatever the new one is now, it is the only one.
      this.#line = this.#next.line;
      this.#next = undefined;
      this.#become(this.#line.isReady ? { kind: "open", userId: this.#line.userId } : { kind: "connecting" });
      return;
    }
    const toldDelayMs = this.#toldAtMs === undefined ? undefined : this.#toldAtMs - performance.now();
    this.#toldAtMs = undefined;
    const comeback = comebackOf({ code, toldDelayMs, failures: this.#failures, random: Math.random() });
    this.#failures += 1;
    clearTimeout(this.#timer);
    if (comeback.kind === "never") {
      this.#become({ kind: "ended", why: comeback.why });
      return;
    }
    this.#become({ kind: "waiting", why: comeback.why, untilMs: performance.now() + comeback.delayMs });
    this.#timer = setTimeout(() => this.#open(), comeback.delayMs);
  }

  #open(): void {
    clearTimeout(this.#timer);
    for (const line of [this.#line, this.#next?.line]) {
      line?.close();
      if (line !== undefined) this.#breakOff(line);
    }
    this.#next = undefined;
    this.#become({ kind: "connecting" });
    this.#line = new Line(this.#url, this.#token, this);
  }

  #moveAfter(delayMs: number): void {
    if (this.#state.kind === "open") this.#become({ kind: "moving", userId: this.#state.userId });
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#next === undefined) this.#next = { line: new Line(this.#url, this.#token, this), open: new Set([""]) };
    }, delayMs);
  }

  /** Once the new line hears all that the old one does, it is the one. */
  #switchOver(): void {
    if (this.#next === undefined || this.#next.open.size > 0) return;
    const old = this.#line;
    this.#line = this.#next.line;
    this.#next = undefined;
    this.#toldAtMs = undefined;
    this.#become({ kind: "open", userId: this.#line.userId });
    if (old === undefined) return;
    setTimeout(() => {
      old.close();
      this.#breakOff(old);
    }, OLD_LINE_MS);
  }

  #become(state: ConnectionState): void {
    this.#state = state;
    this.#events.stateChanged(state);
  }

  #answer(id: string | undefined, answer: PublishAnswer): boolean {
    const unanswered = id === undefined ? undefined : this.#unanswered.get(id);
    if (id === undefined || unanswered === undefined) return false;
    this.#unanswered.delete(id);
    unanswered.answered(answer);
    return true;
  }

  #breakOff(line: Line): void {
    for (const [id, unanswered] of this.#unanswered) {
      if (unanswered.line === line) this.#answer(id, { type: "broke" });
    }
  }

  #wasHeard(messageId: string): boolean {
    if (this.#heard.has(messageId)) return true;
    this.#heard.add(messageId);
    if (this.#heard.size > HEARD_MAX) {
      const [oldest] = this.#heard;
      if (oldest !== undefined) this.#heard.delete(oldest);
    }
    return false;
  }
}

function sendSubscribe(line: Line, topicId: string, presence: boolean): void {
  line.send(JSON.stringify({ type: "subscribe", id: "subscribe", topic_id: topicId, presence }));
}
