// Owns: the frames of docs/protocol.md as the page reads them, and a payload as the very text that came: what JSON.parse
// makes of it may differ (12345678901234567890 does). Pure.

export interface Member {
  readonly user_id: string;
  readonly info?: unknown;
}

export type Frame =
  | { readonly type: "welcome"; readonly user_id: string; readonly ping_interval_ms: number }
  | { readonly type: "token"; readonly id?: string; readonly user_id: string }
  | { readonly type: "token_expiring"; readonly token_expires_at: string }
  | { readonly type: "subscribed"; readonly topic_id: string; readonly count: number }
  | {
      readonly type: "unsubscribed";
      readonly id?: string;
      readonly topic_id: string;
      readonly reason: string;
    }
  | MessageFrame
  | {
      readonly type: "gap";
      readonly topic_id: string;
      readonly reason: string;
      readonly missed?: number;
    }
  | PresenceFrame
  | PublishedFrame
  | ErrorFrame
  | { readonly type: "reconnect"; readonly delay_ms: number; readonly closes_in_ms: number }
  | { readonly type: "pong" };

export interface MessageFrame {
  readonly type: "message";
  readonly topic_id: string;
  readonly message_id: string;
  readonly publisher_id: string;
  readonly timestamp: string;
  readonly encoding?: string;
}

export interface PresenceFrame {
  readonly type: "presence";
  readonly topic_id: string;
  readonly connections?: number;
  readonly count?: number;
  readonly subscribers?: readonly Member[];
  readonly joined?: readonly Member[];
  readonly left?: readonly Member[];
  readonly stale?: boolean;
}

export interface PublishedFrame {
  readonly type: "published";
  readonly id?: string;
  readonly delivered_to: number;
  readonly dropped: boolean;
  readonly reason?: string;
}

export interface ErrorFrame {
  readonly type: "error";
  readonly id?: string;
  readonly topic_id?: string;
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
}

const PAYLOAD = ',"payload":';

/** The text of a message's payload, from the text of its frame. */
export function payloadText(frame: string): string {
  // What stands before it are strings, and in a string a quote has a backslash before it: this is its first place.
  const at = frame.indexOf(PAYLOAD);
  if (at < 0) return "";
  const start = at + PAYLOAD.length;
  return frame.slice(start, endOfValue(frame, start));
}

/** Where the JSON value that begins at `start` ends. `text` is JSON. */
function endOfValue(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    const character = text[at] ?? "";
    if (character === '"') at = endOfString(text, at);
    else if (depth === 0 && ",}]".includes(character)) return at;
    else if (character === "{" || character === "[") depth += 1;
    else if (character === "}" || character === "]") depth -= 1;
  }
  return text.length;
}

/** Where the string's last quote is. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at;
}

/** A `publish` frame whose payload is JSON text as it was typed: not parsed and rebuilt. */
export function publishFrame(id: string, topicId: string, payload: string): string {
  const fields = JSON.stringify({ type: "publish", id, topic_id: topicId });
  return `${fields.slice(0, -1)},"payload":${payload}}`;
}

/** What somebody typed, as JSON text: itself where it is JSON, else a string. */
export function typedPayload(typed: string): { readonly text: string; readonly isJson: boolean } {
  try {
    JSON.parse(typed);
    return { text: typed, isJson: true };
  } catch {
    return { text: JSON.stringify(typed), isJson: false };
  }
}
