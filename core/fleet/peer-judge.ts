// Owns: which process of an installation may call what of another one, and proving that it is one, by its ServiceAccount's
// token. Judged when a call or stream begins; offline, by the keys in ServiceAccounts. Tokens that were proven are
// remembered until they end or the keys change. Never says anything of a token but which claim is wrong.

import { hash } from "node:crypto";
import type { Clock } from "../runtime/clock.ts";
import { EarshotError } from "../runtime/errors.ts";
import type { Log } from "../runtime/log.ts";
import { Counter, type Registry, readGauge } from "../runtime/metrics.ts";
import type { CallJudge, Refusal } from "../runtime/peer-identity.ts";
import { ControlPlaneService } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { LinkService } from "#proto/earshot/internal/v1/link_pb.ts";
import { RouterService } from "#proto/earshot/internal/v1/router_pb.ts";
import { type Installation, type InstallationRole, peerAccount } from "./peer-names.ts";
import type { ServiceAccounts } from "./service-accounts.ts";

/** Who may call a service. What is not here nobody may call. */
const CALLERS: ReadonlyMap<string, readonly InstallationRole[]> = new Map([
  [ControlPlaneService.typeName, ["router", "gateway"]],
  [RouterService.typeName, ["router", "gateway"]],
  [LinkService.typeName, ["gateway"]],
]);

const ROLES: readonly InstallationRole[] = ["operator", "router", "gateway"];

/** Proven tokens remembered: of every process of a large fleet, twice. At the cap the one proven first goes. */
export const PEER_TOKENS_MAX = 4_096;

/** Milliseconds between two lines of the log about refusals: who is refused tries again all the time. */
export const REFUSAL_TOLD_MS = 10_000;

export interface PeerJudgeOptions {
  readonly installation: Installation;
  /** That tokens must have. */
  readonly audience: string;
  readonly accounts: ServiceAccounts;
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
}

interface Proven {
  readonly role: InstallationRole;
  readonly expiresAtMs: number;
}

const OUTCOMES = ["remembered", "proven", "refused", "keys_unknown"] as const;

export class PeerJudge {
  readonly #options: PeerJudgeOptions;
  readonly #proven = new Map<string, Proven>();
  readonly #calls: Counter<"outcome">;
  #toldAtMs = Number.NEGATIVE_INFINITY;
  readonly judge: CallJudge = (path, authorization) => this.#judge(path, authorization);

  constructor(options: PeerJudgeOptions) {
    this.#options = options;
    options.accounts.onChange(() => this.#proven.clear());
    this.#calls = new Counter({
      name: "earshot_peer_calls_total",
      help: "Calls of other processes of this installation, by how they were judged: remembered, proven, refused; keys_unknown: refused until the cluster's keys have come.",
      labelNames: ["outcome"],
      registers: [options.registry],
    });
    for (const outcome of OUTCOMES) this.#calls.inc({ outcome }, 0);
    const help = `Proven tokens of other processes remembered, ${PEER_TOKENS_MAX} at most; the one proven first goes first.`;
    readGauge(options.registry, "earshot_peer_tokens", help, () => this.#proven.size);
  }

  async #judge(path: string, authorization: string | undefined): Promise<Refusal | undefined> {
    const [, service = ""] = path.split("/");
    const may = CALLERS.get(service) ?? [];
    try {
      const role = await this.#roleOf(authorization);
      if (may.includes(role)) return undefined;
      const right = may.length === 0 ? "nobody" : may.join(" and ");
      return this.#refuse(service, {
        status: "PERMISSION_DENIED",
        details: `${service} may be called by ${right}, not by ${role}`,
      });
    } catch (error) {
      if (!(error instanceof EarshotError)) throw error;
      const { message: details } = error;
      if (error.code !== "overloaded") return this.#refuse(service, { status: "UNAUTHENTICATED", details });
      this.#calls.inc({ outcome: "keys_unknown" });
      return { status: "UNAVAILABLE", details };
    }
  }

  #refuse(service: string, refusal: Refusal): Refusal {
    this.#calls.inc({ outcome: "refused" });
    const { clock, log } = this.#options;
    const nowMs = clock.monotonic();
    if (nowMs - this.#toldAtMs >= REFUSAL_TOLD_MS) {
      this.#toldAtMs = nowMs;
      log.warn({ service, reason: refusal.details }, "call of another process refused");
    }
    return refusal;
  }

  async #roleOf(authorization: string | undefined): Promise<InstallationRole> {
    const token = /^Bearer (\S+)$/.exec(authorization ?? "")?.[1];
    if (token === undefined) {
      throw new EarshotError(
        "unauthenticated",
        "a process shows the token of its service account (authorization: Bearer)",
      );
    }
    const key = hash("sha256", token, "base64");
    const remembered = this.#proven.get(key);
    if (remembered !== undefined && remembered.expiresAtMs > this.#options.clock.now()) {
      this.#calls.inc({ outcome: "remembered" });
      return remembered.role;
    }
    const proven = await this.#prove(token);
    this.#remember(key, proven);
    this.#calls.inc({ outcome: "proven" });
    return proven.role;
  }

  async #prove(token: string): Promise<Proven> {
    const { accounts, audience, installation } = this.#options;
    const { namespace, name, expiresAtMs } = await accounts.prove(token, audience);
    const role = ROLES.find((each) => peerAccount(each, installation) === name);
    if (namespace === installation.namespace && role !== undefined) return { role, expiresAtMs };
    const right = `${peerAccount("router", installation)} or ${peerAccount("gateway", installation)}`;
    throw new EarshotError(
      "unauthenticated",
      `the service account ${namespace}/${name} is none of this installation, whose are ${right} in ${installation.namespace}`,
    );
  }

  #remember(key: string, proven: Proven): void {
    this.#proven.delete(key);
    this.#proven.set(key, proven);
    for (const oldest of this.#proven.keys()) {
      if (this.#proven.size <= PEER_TOKENS_MAX) return;
      this.#proven.delete(oldest);
    }
  }
}
