// Owns: what the processes of an installation in Kubernetes are called: the names in their certificates, and the
// ServiceAccounts that they run as. The chart gives them out (charts/earshot), the operator signs for them (operator/tls).

export type InstallationRole = "operator" | "router" | "gateway";

/** What names an installation. */
export interface Installation {
  readonly release: string;
  readonly namespace: string;
}

/** Below it are the names in all certificates of an installation. No resolver knows them, nobody looks them up. */
export function peerDomain({ release, namespace }: Installation): string {
  return `${release}.${namespace}.earshot.internal`;
}

/** The name in the certificate of a process, at whatever address it is dialled. */
export function peerServerName(role: InstallationRole, installation: Installation): string {
  return `${role}.${peerDomain(installation)}`;
}

/** The name of its ServiceAccount. */
export function peerAccount(role: InstallationRole, { release }: Installation): string {
  return `${release}-${role}`;
}
