// Owns: who somebody is, once proven. Made by core/edge/tokens.ts from a token, or for nobody in particular.
// A principal is the same at every door. Elsewhere: what it may do (access.ts).

/** What a token says of its own rights, already parsed (capability.ts). `*` stands only at the end, or alone. */
export interface Capabilities {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
  readonly manage: readonly string[];
}

export const NO_CAPABILITIES: Capabilities = { publish: [], subscribe: [], manage: [] };

interface Proven {
  readonly groups: readonly string[];
  readonly capabilities: Capabilities;
  /** Namespaces that the token's issuer may speak for; undefined: all. */
  readonly namespaces: readonly string[] | undefined;
  /** Milliseconds since the epoch. */
  readonly expiresAtMs: number;
  /** JSON text of the token's `earshot.info`, shown to others in presence; undefined: none. */
  readonly info: string | undefined;
}

export type Principal =
  | { readonly kind: "anonymous" }
  | ({ readonly kind: "user"; readonly userId: string } & Proven)
  | ({
      readonly kind: "serviceAccount";
      readonly userId: string;
      readonly namespace: string;
      readonly name: string;
    } & Proven);

export const ANONYMOUS: Principal = { kind: "anonymous" };

/**
 * The id that others see of a principal: the token's subject, `system:serviceaccount:<namespace>:<name>`, or for an
 * anonymous one `anonymous:<connection id>`.
 */
export function publicIdOf(principal: Principal, connectionId: string): string {
  return principal.kind === "anonymous" ? `anonymous:${connectionId}` : principal.userId;
}
