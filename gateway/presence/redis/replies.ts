// Owns: reading what our scripts answer. Pure. An answer of another shape means that something else answers under our
// names: presence_unavailable, as for a store that is not there.

import { EarshotError } from "#core/runtime/errors.ts";

export function listOf(reply: unknown): readonly unknown[] {
  if (Array.isArray(reply)) return reply as readonly unknown[];
  throw strange();
}

export function textOf(reply: unknown): string {
  if (typeof reply === "string") return reply;
  throw strange();
}

export function numberOf(reply: unknown): number {
  if (typeof reply === "number") return reply;
  throw strange();
}

function strange(): EarshotError {
  return new EarshotError("presence_unavailable", "Redis gave an answer that no script of ours gives");
}
