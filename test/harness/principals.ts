// Owns: principals for tests of rights.

import { type Capabilities, NO_CAPABILITIES, type Principal } from "#core/domain/principal.ts";

interface Traits {
  readonly groups?: readonly string[];
  readonly capabilities?: Partial<Capabilities>;
  readonly namespaces?: readonly string[];
}

export function user(userId: string, traits: Traits = {}): Principal {
  return { kind: "user", userId, ...proven(traits) };
}

export function serviceAccount(namespace: string, name: string, traits: Traits = {}): Principal {
  const userId = `system:serviceaccount:${namespace}:${name}`;
  return { kind: "serviceAccount", userId, namespace, name, ...proven(traits) };
}

function proven({ groups = [], capabilities = {}, namespaces }: Traits) {
  return {
    groups,
    capabilities: { ...NO_CAPABILITIES, ...capabilities },
    namespaces,
    expiresAtMs: Number.MAX_SAFE_INTEGER,
    info: undefined,
  };
}
