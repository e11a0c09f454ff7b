// Owns: the life of a connection's token: a warning 30 s before its end (or a tenth of its life, if that is shorter), the
// end itself, and replacing it in place. Invariant: a bad new token changes nothing; the old one holds until it expires.

import type { Principal } from "#core/domain/principal.ts";
import type { Clock } from "#core/runtime/clock.ts";
import type { Session } from "./session.ts";
import type { Wheel } from "./wheel.ts";

/** Milliseconds before the end of a token at which its client is warned. */
const WARN_BEFORE_MS = 30_000;

/** The same as a part of what the token has left when it comes, for short-lived ones. */
const WARN_BEFORE_PART = 0.1;

/** When to warn and when to end, in milliseconds from now; undefined: it never ends. Pure. */
export function tokenDeadlines(principal: Principal, nowMs: number): { warnMs: number; endMs: number } | undefined {
  if (principal.kind === "anonymous" || !Number.isFinite(principal.expiresAtMs)) return undefined;
  const endMs = Math.max(0, principal.expiresAtMs - nowMs);
  return { warnMs: endMs - Math.min(WARN_BEFORE_MS, endMs * WARN_BEFORE_PART), endMs };
}

interface Times {
  readonly wheel: Wheel;
  readonly clock: Clock;
}

/** Takes a principal for a session and plans the end of its token. `expired` runs when that has come. */
export function takePrincipal(session: Session, principal: Principal, times: Times, expired: () => void): void {
  session.principal = principal;
  planTokenEnd(session, times, expired);
}

/** Plans it by the wall clock as it is now; the plan before is forgotten. Whoever was warned may be warned once more. */
export function planTokenEnd(session: Session, { wheel, clock }: Times, expired: () => void): void {
  const { principal } = session;
  session.tokenTimer?.cancel();
  session.tokenTimer = undefined;
  const deadlines = tokenDeadlines(principal, clock.now());
  if (deadlines === undefined || principal.kind === "anonymous") return;
  session.tokenTimer = wheel.after(deadlines.warnMs, () => {
    session.say({ type: "token_expiring", tokenExpiresAtMs: principal.expiresAtMs });
    session.tokenTimer = wheel.after(deadlines.endMs - deadlines.warnMs, expired);
  });
}
