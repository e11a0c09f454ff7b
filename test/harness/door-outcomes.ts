// Owns: what answers and failures of every kind of door mean for the message counter.

import { PAYLOAD_MARK } from "../../scripts/log-check.ts";
import { EarshotError, messageOf } from "#core/runtime/errors.ts";
import { fromStatus } from "#core/runtime/grpc.ts";
import type { Gateways } from "./gateway-choice.ts";
import type { Outcome } from "./message-counter.ts";

export interface DoorOptions {
  readonly gateways: Gateways;
  /** The gateway it begins with. */
  readonly home: string;
  readonly topicId: string;
  readonly token?: string;
  /** Characters beside the number. Default: none. */
  readonly padding?: string;
}

/** What a door hands in for a number. */
export function payloadOf(number: number, { padding }: DoorOptions): { n: number; mark: string; padding?: string } {
  const payload = { n: number, mark: PAYLOAD_MARK };
  return padding === undefined ? payload : { ...payload, padding };
}

export interface JsonResult {
  readonly delivered_to?: number;
  readonly code?: string;
}

/** An answer of HTTP or WebSocket. */
export function outcomeOf({ delivered_to: deliveredTo, code }: JsonResult): Outcome {
  if (code !== undefined) return { kind: "error", code };
  return { kind: "taken", deliveredTo: deliveredTo ?? 0 };
}

/** An answer of HTTP, which a proxy may have given in the place of a gateway. */
export function answerOf(json: JsonResult, status: number): Outcome {
  return status >= 400 && json.code === undefined ? { kind: "error", code: `http_${status}` } : outcomeOf(json);
}

export function brokenBy(error: unknown): Outcome & { kind: "broken" } {
  const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : "";
  return { kind: "broken", why: `${messageOf(error)}${cause}` };
}

/** What a failed call or stream of gRPC means for what had no answer yet. */
export function grpcFailure(error: unknown): Outcome {
  let broken: Outcome | undefined;
  const known = fromStatus(error, (message) => {
    broken = { kind: "broken", why: message };
    return new EarshotError("publish_unknown");
  });
  return broken ?? { kind: "error", code: known.code };
}

/** Told `draining`; or no connection was there to send it on; or the server did nothing (RFC 9113, 8.7: REFUSED_STREAM). */
export function isSafeToRepeat(outcome: Outcome): boolean {
  if (outcome.kind === "error") return outcome.code === "draining";
  return (
    outcome.kind === "broken" && /No connection established|ECONNREFUSED|Stream refused by server/.test(outcome.why)
  );
}
