// Owns: which router of a shard's list the next publish goes to. Pure; placer.ts acts on it.
// The first that is live; a draining one only if nothing else; nobody twice that refused this very publish.

import type { Router, ShardOwners } from "../domain/shard-map.ts";
import type { Availability } from "./publish-stream.ts";

export type Choice =
  | { readonly kind: "router"; readonly router: Router }
  /** None now, but one is being dialled for the first time. */
  | { readonly kind: "soon" }
  | { readonly kind: "none" };

/**
 * `refused`: it has refused this publish; `avoided`: it has just refused others of the shard, so it comes last among the
 * live ones.
 */
export function chooseOwner(
  owners: ShardOwners,
  availabilityOf: (router: Router) => Availability,
  refused: (router: Router) => boolean,
  avoided: (router: Router) => boolean,
): Choice {
  let second: Router | undefined;
  let draining: Router | undefined;
  let soon = false;
  for (const router of owners) {
    if (refused(router)) continue;
    switch (availabilityOf(router)) {
      case "live":
        if (!avoided(router)) return { kind: "router", router };
        second ??= router;
        break;
      case "draining":
        draining ??= router;
        break;
      case "pending":
        soon = true;
        break;
      case "dead":
        break;
    }
  }
  const router = second ?? draining;
  if (router !== undefined) return { kind: "router", router };
  return { kind: soon ? "soon" : "none" };
}
