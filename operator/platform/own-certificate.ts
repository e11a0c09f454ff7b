// Owns: the operator's own certificate in Kubernetes: the Secret that the leading operator makes for all of them, watched
// over the API, since it is renewed while this process runs and its first one is made by an operator that already runs.
// Elsewhere: making it (operator/tls), what others do with theirs (mounted, core/runtime/tls-folder.ts).

import { messageOf } from "#core/runtime/errors.ts";
import type { Component } from "#core/runtime/lifecycle.ts";
import type { Log } from "#core/runtime/log.ts";
import { HeldTls, type TlsSource } from "#core/runtime/tls.ts";
import type { KubeObject } from "../kube/api.ts";
import type { Informer } from "../kube/informer.ts";

/** core/v1 Secret of type kubernetes.io/tls. */
export interface TlsSecret extends KubeObject {
  /** base64 */
  readonly data?: Readonly<Record<string, string>>;
}

export interface OwnCertificateOptions {
  /** Of that one Secret; this starts and closes it. */
  readonly informer: Informer<TlsSecret>;
  readonly log: Log;
}

export class OwnCertificate implements Component {
  readonly #options: OwnCertificateOptions;
  readonly #held = new HeldTls();

  constructor(options: OwnCertificateOptions) {
    this.#options = options;
  }

  get tls(): TlsSource {
    return this.#held;
  }

  /** Resolves when it is known whether there is one. */
  async start(): Promise<void> {
    const { informer } = this.#options;
    informer.onChange(() => this.#look());
    await informer.start();
    this.#look();
  }

  close(): Promise<void> {
    return this.#options.informer.close();
  }

  #look(): void {
    for (const secret of this.#options.informer.objects.values()) {
      const problem = this.#take(secret);
      if (problem === undefined) continue;
      this.#options.log.error({ object: secret.metadata.name, problem }, "own certificate not usable, last one kept");
    }
  }

  #take({ data = {} }: TlsSecret): string | undefined {
    const text = (name: string): string => Buffer.from(data[name] ?? "", "base64").toString("utf8");
    try {
      return this.#held.offer({ certificate: text("tls.crt"), key: text("tls.key"), authorities: text("ca.crt") });
    } catch (error) {
      return messageOf(error);
    }
  }
}
