// Owns: which router of a shard's list the next publish goes to. Pure; placer.ts acts on it.
// The first that is live; a draining one only if nobody else has the interest; nobody twice that refused this very publish.

import type { Router, ShardOwners } from "../domain/shard-map.ts";
import type { Availability } from "./publish-stream.ts";

export type Choice =
  | { readonly kind: "router"; readonly router: Router }
  /** None now, but one is being dialled for the first time. */
  | { readonly kind: "soon" }
  | { readonly kind: "none" };

/**
 * How a router of the list stands with one publish: it has `refused` this very one; it has just refused others of the
 * shard (`avoided`); it is `new` in the shard's list, where gateways are only now registering their interest.
 */
export type Standing = "usual" | "avoided" | "new" | "refused";

/** In this order: live ones, live ones that are avoided, draining ones (they serve on), live ones that are new. */
export function chooseOwner(
  owners: ShardOwners,
  availabilityOf: (router: Router) => Availability,
  standingOf: (router: Router) => Standing,
): Choice {
  const best = new Map<"avoided" | "draining" | "new", Router>();
  const keep = (place: "avoided" | "draining" | "new", router: Router): void => {
    if (!best.has(place)) best.set(place, router);
  };
  let soon = false;
  for (const router of owners) {
    const standing = standingOf(router);
    if (standing === "refused") continue;
    switch (availabilityOf(router)) {
      case "live":
        if (standing === "usual") return { kind: "router", router };
        keep(standing, router);
        break;
      case "draining":
        keep("draining", router);
        break;
      case "pending":
        soon = true;
        break;
      case "dead":
        break;
    }
  }
  const router = best.get("avoided") ?? best.get("draining") ?? best.get("new");
  if (router !== undefined) return { kind: "router", router };
  return { kind: soon ? "soon" : "none" };
}
