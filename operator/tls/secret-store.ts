// Owns: what the authority asks of the place where its Secrets are kept. One implementation over the Kubernetes API
// (kube-secrets.ts); tests keep them in memory.

export interface SecretContents {
  /** PEM texts by file name. */
  readonly data: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface StoredSecret extends SecretContents {
  readonly resourceVersion: string;
}

export interface SecretStore {
  /** Undefined: there is none of this name. */
  read(name: string): Promise<StoredSecret | undefined>;
  /** False: somebody else made one meanwhile. */
  create(name: string, contents: SecretContents): Promise<boolean>;
  /** False: somebody else changed it since it had this resourceVersion, or it is gone. */
  replace(name: string, contents: SecretContents, resourceVersion: string): Promise<boolean>;
}
