// Owns: one topic's interest at one router, as far as that router has confirmed it.

import type { HeardBefore } from "./late-interest.ts";
import type { Link } from "./link.ts";

export interface Registration {
  readonly link: Link;
  /** The topic's generation that the router has confirmed; -1: none since the link came alive. */
  generation: number;
  /** Of the topic's last message there, when it confirmed. */
  seq: number;
  /** Fleet-wide subscriptions as that router counted them then. */
  total: number;
  /** This gateway's subscriptions that the confirm was about, and how many of them were granted. */
  count: number;
  granted: number;
  /** Monotonic: since when no map lists the router for this topic; undefined while one does. */
  unlistedAtMs: number | undefined;
  /** Heard last from there before this interest was registered on the link's present stream. */
  heardBefore: HeardBefore | undefined;
}

export function newRegistration(link: Link, heardBefore: HeardBefore | undefined): Registration {
  return { link, generation: -1, seq: 0, total: 0, count: 0, granted: 0, unlistedAtMs: undefined, heardBefore };
}
