// Owns: what is read of a gateway's state when somebody asks: links to routers, interest, queues. Elsewhere: what is counted
// as it happens (metrics.ts).

import type { Clock } from "#core/runtime/clock.ts";
import { type Registry, readCounters, readGauge, readGauges } from "#core/runtime/metrics.ts";
import type { FanOut } from "./fanout/fan-out.ts";
import type { LocalTopics } from "./fanout/local-topics.ts";
import type { Sessions } from "./sessions/sessions.ts";
import type { Subscribing } from "./sessions/subscribing.ts";
import type { Wheel } from "./sessions/wheel.ts";
import { LINK_STANDINGS, type LinkStanding } from "./upstream/link.ts";
import type { Upstream } from "./upstream/upstream.ts";

interface Observed {
  readonly topics: LocalTopics;
  readonly fanOut: FanOut;
  readonly upstream: Upstream;
  readonly sessions: Sessions;
  readonly subscribing: Subscribing;
  readonly wheel: Wheel;
  readonly clock: Clock;
  readonly connectionsMax: number;
}

export function registerState(registry: Registry, observed: Observed): void {
  registerUpstream(registry, observed);
  const { topics, fanOut, sessions, subscribing, wheel, connectionsMax } = observed;
  const gauge = (name: string, help: string, read: () => number): void => {
    readGauge(registry, `earshot_gateway_${name}`, help, read);
  };
  gauge("topics", "Topic ids that somebody here is subscribed to.", () => topics.size);
  const most = "Connections that there may be here (setting connectionsMax); one more is refused.";
  gauge("connections_max", most, () => connectionsMax);
  const unsent = "Bytes that clients have not taken yet, in their sockets and in queues of this process.";
  gauge("unsent_bytes", unsent, () => sessions.unsentBytes());
  const fanning =
    "Bytes of messages that came from routers and wait for their turn to be handed on; 2 MiB a router at most.";
  gauge("fan_out_queued_bytes", fanning, () => fanOut.queuedBytes);
  const asked = "Subscriptions that wait for a router's confirm; refused after 5 s.";
  gauge("subscriptions_waiting", asked, () => subscribing.waiting);
  const deadlines = "Deadlines of connections that are still to come: ages, tokens, closes; a few a connection.";
  gauge("deadlines", deadlines, () => wheel.size);
}

function registerUpstream(registry: Registry, { upstream, clock }: Observed): void {
  const links = {
    name: "earshot_gateway_links",
    help: "Links to routers, by where they stand; each router of the map has one.",
    label: "state",
  };
  readGauges(registry, links, () => standingsOf(upstream));
  const ended = {
    name: "earshot_gateway_links_ended_total",
    help: "Links to routers that were alive and ended: announced (the router left), silent (no beat for 3 s), broken.",
    label: "reason",
  };
  readCounters(registry, ended, () => upstream.linkEnds);
  const silence =
    "Time since the quietest router with a live link was heard; each beats once a second and is dead after 3.";
  readGauge(registry, "earshot_gateway_link_silence_seconds", silence, () => silenceMsOf(upstream, clock) / 1_000);
  const unconfirmed = "Batches of interest that were sent to routers and are not confirmed.";
  readGauge(registry, "earshot_gateway_interest_batches_unconfirmed", unconfirmed, () => {
    let batches = 0;
    for (const link of upstream.links) batches += link.unconfirmed;
    return batches;
  });
}

function standingsOf({ links }: Upstream): Readonly<Record<LinkStanding, number>> {
  const counts = Object.fromEntries(LINK_STANDINGS.map((standing) => [standing, 0])) as Record<LinkStanding, number>;
  for (const { standing } of links) counts[standing] += 1;
  return counts;
}

/** Since the router that has been silent longest was heard; 0 when no link is alive. */
function silenceMsOf({ links }: Upstream, clock: Clock): number {
  const nowMs = clock.monotonic();
  let silence = 0;
  for (const { heardAtMs } of links) silence = Math.max(silence, nowMs - (heardAtMs ?? nowMs));
  return silence;
}
