// Owns: what a plan makes of the Secrets: keys and certificates where it says so, the bundle that everybody is given, and
// since when. Nothing is decided here, and nothing written (authority.ts).

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type Installation, type InstallationRole, peerDomain, peerServerName } from "#core/fleet/peer-names.ts";
import { type KeyPair, makeAuthority, makeLeaf } from "./certificates.ts";
import { type Authority, authorityOf, byAge, NEXT, type Observed, TRUSTED_SINCE, type Trusted } from "./observed.ts";
import { AUTHORITY_MS, BACKDATED_MS, LEAF_MS, type Plan } from "./plan.ts";
import type { SecretContents } from "./secret-store.ts";

export interface WantedSecrets {
  readonly authority: SecretContents;
  readonly leaves: Readonly<Record<InstallationRole, SecretContents>>;
}

export function carryOut(observed: Observed, plan: Plan, installation: Installation, nowMs: number): WantedSecrets {
  const { signer, successor } = authoritiesOf(observed, plan, installation, nowMs);
  const bundle = byAge<Trusted>([signer, ...(successor === undefined ? [] : [successor]), ...plan.former]);
  const authorities = bundle.map(({ pem }) => pem).join("");
  const next =
    successor === undefined ? {} : { [NEXT.certificate]: successor.pair.certificate, [NEXT.key]: successor.pair.key };
  const leafOf = (role: InstallationRole): SecretContents => {
    const { leaf, bundle: before, bundleSinceMs } = observed.leaves[role];
    const pair =
      leaf === undefined || plan.issue.includes(role)
        ? issue(signer, peerServerName(role, installation), nowMs)
        : leaf.pair;
    const isSame = bundleSinceMs !== undefined && before.map(({ pem }) => pem).join("") === authorities;
    const since = new Date(isSame ? bundleSinceMs : nowMs).toISOString();
    return { data: filesOf(pair, authorities), annotations: { [TRUSTED_SINCE]: since } };
  };
  return {
    authority: { data: { ...filesOf(signer.pair, authorities), ...next }, annotations: {} },
    leaves: { operator: leafOf("operator"), router: leafOf("router"), gateway: leafOf("gateway") },
  };
}

function authoritiesOf(
  { signer, successor }: Observed,
  { authority }: Plan,
  installation: Installation,
  nowMs: number,
): { readonly signer: Authority; readonly successor: Authority | undefined } {
  if (authority === "promote" && successor !== undefined) return { signer: successor, successor: undefined };
  if (authority === "create" || signer === undefined) {
    return { signer: newAuthority(installation, nowMs), successor: undefined };
  }
  return { signer, successor: authority === "prepare" ? newAuthority(installation, nowMs) : successor };
}

function newAuthority(installation: Installation, nowMs: number): Authority {
  // Each has a name of its own, so that whoever checks a certificate never tries the wrong one.
  const name = `earshot ${createHash("sha256")
    .update(`${peerDomain(installation)} ${nowMs}`)
    .digest("hex")
    .slice(0, 16)}`;
  const validity = { fromMs: nowMs - BACKDATED_MS, untilMs: nowMs + AUTHORITY_MS };
  const { certificate, key } = makeAuthority(name, peerDomain(installation), validity);
  const made = authorityOf(certificate, key);
  assert(made !== undefined, "an authority that was just made can sign");
  return made;
}

function issue({ pair, untilMs }: Authority, name: string, nowMs: number): KeyPair {
  // Nothing outlives who signed it.
  return makeLeaf(pair, [name], { fromMs: nowMs - BACKDATED_MS, untilMs: Math.min(nowMs + LEAF_MS, untilMs) });
}

function filesOf({ certificate, key }: KeyPair, authorities: string): Readonly<Record<string, string>> {
  return { "tls.crt": certificate, "tls.key": key, "ca.crt": authorities };
}

/** How many certificates, and authorities, a plan makes. */
export function madeBy({ authority, issue: issued }: Plan): { readonly authorities: number; readonly leaves: number } {
  return { authorities: authority === "create" || authority === "prepare" ? 1 : 0, leaves: issued.length };
}
