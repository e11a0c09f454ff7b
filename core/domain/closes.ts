// Owns: every WebSocket close code that Earshot uses or that a client of Earshot can meet, and whether to come back.
// docs/protocol.md, the gateway and the client library are checked against it.

/** What a client does after a close. */
export type ComeBack = "after_delay" | "with_new_token" | "yes" | "no";

export interface CloseEntry {
  readonly meaning: string;
  readonly comeBack: ComeBack;
}

export const CLOSES = {
  1012: { meaning: "restart", comeBack: "after_delay" },
  1013: { meaning: "shed by overload", comeBack: "after_delay" },
  3101: { meaning: "token expired", comeBack: "with_new_token" },
  3102: { meaning: "heartbeat missed", comeBack: "yes" },
  3103: { meaning: "slow consumer", comeBack: "yes" },
  1002: { meaning: "broken frame", comeBack: "no" },
  1003: { meaning: "binary frame", comeBack: "no" },
  1007: { meaning: "invalid UTF-8", comeBack: "no" },
  1009: { meaning: "frame too large", comeBack: "no" },
  4400: { meaning: "not a message of this protocol", comeBack: "no" },
  4429: { meaning: "far too many messages", comeBack: "no" },
  4401: { meaning: "no token, or a bad one", comeBack: "no" },
  4403: { meaning: "principal shut out", comeBack: "no" },
} as const satisfies Record<number, CloseEntry>;

export type CloseCode = keyof typeof CLOSES;
