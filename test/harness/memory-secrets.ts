// Owns: Secrets in memory, as an API server keeps them: every write is a compare-and-swap, and a test may make any fail.

import type { SecretContents, SecretStore, StoredSecret } from "../../operator/tls/secret-store.ts";

export class MemorySecrets implements SecretStore {
  readonly secrets = new Map<string, StoredSecret>();
  writes = 0;
  /** Called before each write; may throw, or change what is there. */
  beforeWrite: (name: string) => void = () => undefined;
  /** While it is true nothing answers. */
  down = false;

  read(name: string): Promise<StoredSecret | undefined> {
    if (this.down) return Promise.reject(new Error("no answer"));
    return Promise.resolve(this.secrets.get(name));
  }

  async create(name: string, contents: SecretContents): Promise<boolean> {
    return this.#write(name, contents, undefined);
  }

  async replace(name: string, contents: SecretContents, resourceVersion: string): Promise<boolean> {
    return this.#write(name, contents, resourceVersion);
  }

  text(name: string, file: string): string {
    return this.secrets.get(name)?.data[file] ?? "";
  }

  #write(name: string, { data, annotations }: SecretContents, resourceVersion: string | undefined): boolean {
    if (this.down) throw new Error("no answer");
    this.beforeWrite(name);
    if (this.secrets.get(name)?.resourceVersion !== resourceVersion) return false;
    this.writes += 1;
    this.secrets.set(name, { data, annotations, resourceVersion: String(this.writes) });
    return true;
  }
}
