// Owns: by what a process proves itself to others of its installation, and how it judges who calls it. One object a
// process, made by its main; whatever dials or serves inside the fleet is given it. Standalone mode: one secret that all
// processes of a start share, no TLS. Elsewhere: certificates and ServiceAccount tokens (core/fleet/peer-identity.ts).

import { createHash, timingSafeEqual } from "node:crypto";
import type { ClientTls, TlsSource } from "./tls.ts";

/** Who is dialled inside the fleet. */
export type PeerServer = "operator" | "router" | "presence";

/** What a client shows, and what it expects. */
export interface CallerCredentials {
  /** What goes with the next call; undefined: nothing does. */
  bearer(): string | undefined;
  /** Undefined: plain text. */
  readonly tls?: ClientTls | undefined;
}

export interface Refusal {
  readonly status: "UNAUTHENTICATED" | "PERMISSION_DENIED" | "UNAVAILABLE";
  /** For whoever reads the caller's log: what would be right. Never holds what the caller sent. */
  readonly details: string;
}

/** Whether a call (its path `/package.Service/Method`) is let in, by its `authorization`; undefined: it is. */
export type CallJudge = (
  path: string,
  authorization: string | undefined,
) => Refusal | undefined | Promise<Refusal | undefined>;

export interface PeerIdentity {
  toward(server: PeerServer): CallerCredentials;
  readonly judge: CallJudge;
  /** For servers inside the fleet; undefined: plain text. */
  readonly tls: TlsSource | undefined;
}

/** Who knows the secret belongs to this installation. */
export function secretIdentity(secret: string): PeerIdentity {
  const credentials: CallerCredentials = { bearer: () => secret };
  const expected = digest(`Bearer ${secret}`);
  const refusal: Refusal = { status: "UNAUTHENTICATED", details: "peer secret missing or wrong" };
  return {
    toward: () => credentials,
    // Digests are of one length, and how long they take to compare tells nothing.
    judge: (_path, authorization) =>
      authorization !== undefined && timingSafeEqual(digest(authorization), expected) ? undefined : refusal,
    tls: undefined,
  };
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
