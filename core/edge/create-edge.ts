// Owns: putting the edge of one process together (edge.ts says what it promises). Called once by the mains of routers
// and gateways. Elsewhere: tokens (tokens.ts), publishes (publish.ts), Topics (topic-calls.ts).

import type { AccessRules } from "../domain/access.ts";
import { ANONYMOUS } from "../domain/principal.ts";
import type { Fleet } from "../fleet/fleet.ts";
import type { ServiceAccounts } from "../fleet/service-accounts.ts";
import { type Clock, SYSTEM_CLOCK } from "../runtime/clock.ts";
import { EarshotError } from "../runtime/errors.ts";
import type { Component } from "../runtime/lifecycle.ts";
import type { Log } from "../runtime/log.ts";
import { Counter, type Registry, readGauge } from "../runtime/metrics.ts";
import type { Config } from "../runtime/settings.ts";
import { TokenBuckets } from "../runtime/token-bucket.ts";
import { grant } from "./authorize.ts";
import type { Caller, Edge } from "./edge.ts";
import { type EdgePlacer, publish } from "./publish.ts";
import { measurePublishes } from "./publish-metrics.ts";
import { Tokens } from "./tokens.ts";
import { EdgeTopicCalls } from "./topic-calls.ts";

export type EdgeConfig = Pick<
  Config,
  | "secret"
  | "issuers"
  | "audience"
  | "shutOut"
  | "anonymous"
  | "httpTopicsNamespace"
  | "httpTopicsCreate"
  | "requestsPerSecondPerPrincipal"
  | "requestsPerSecondPerAddress"
>;

export interface EdgeOptions {
  readonly config: EdgeConfig;
  readonly fleet: Fleet;
  readonly placer: EdgePlacer;
  /** See TokenOptions. */
  readonly accounts?: ServiceAccounts | undefined;
  readonly log: Log;
  readonly registry: Registry;
  readonly clock?: Clock;
}

/** Principals and addresses with a bucket each; at the cap the one that called longest ago starts full again. */
const BUCKETS_MAX = 50_000;

/** Throws ConfigError when the secret or an issuer cannot be used. */
export function createEdge(options: EdgeOptions): Edge & Component {
  const { config, fleet, placer, accounts, log, registry, clock = SYSTEM_CLOCK } = options;
  const rules: AccessRules = { anonymousAccess: config.anonymous };
  const tokens = new Tokens({ config, accounts, clock, log, registry });
  const admit = admission(config, clock, registry);
  const measured = measurePublishes(registry, clock);
  const topics = new EdgeTopicCalls({ config, rules, fleet, placer });
  const authorize: Edge["authorize"] = (action, principal, topicId) =>
    grant(action, principal, topicId, { fleet, rules });
  return {
    authenticate: async (token, address) => (token === undefined ? ANONYMOUS : await tokens.prove(token, address)),
    admitCall: admit,
    authorize,
    publish: (caller, input) => measured(caller.door, () => publish(caller, input, { authorize, placer })),
    topics,
    async close() {
      topics.close();
      await tokens.close();
    },
  };
}

function admission(config: EdgeConfig, clock: Clock, registry: Registry): (caller: Caller) => void {
  const { requestsPerSecondPerPrincipal: perPrincipal, requestsPerSecondPerAddress: perAddress } = config;
  const principals = new TokenBuckets(perPrincipal, 2 * perPrincipal, BUCKETS_MAX);
  const addresses = new TokenBuckets(perAddress, 2 * perAddress, BUCKETS_MAX);
  const refused = new Counter({
    name: "earshot_calls_rate_limited_total",
    help: "HTTP and gRPC calls refused by a rate limit of this process, by whose limit it was.",
    labelNames: ["limit"],
    registers: [registry],
  });
  for (const limit of ["principal", "address"]) refused.inc({ limit }, 0);
  const help = `with a rate limit's bucket, ${BUCKETS_MAX} at most; who called longest ago goes first.`;
  readGauge(registry, "earshot_rate_limited_principals", `Principals ${help}`, () => principals.size);
  readGauge(registry, "earshot_rate_limited_addresses", `Addresses ${help}`, () => addresses.size);
  return ({ principal, address }) => {
    const nowMs = clock.monotonic();
    if (principal.kind !== "anonymous" && !principals.take(principal.userId, nowMs)) {
      refused.inc({ limit: "principal" });
      throw new EarshotError("rate_limited", "too many calls of this user");
    }
    if (!addresses.take(address, nowMs)) {
      refused.inc({ limit: "address" });
      throw new EarshotError("rate_limited", "too many calls of this address");
    }
  };
}
