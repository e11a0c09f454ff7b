// Owns: a Kubernetes cluster as far as its ServiceAccount tokens go: keys that rotate, and tokens as its API server
// writes them, good ones and, by what is overridden, bad ones.

import { create } from "@bufbuild/protobuf";
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from "jose";
import { type ServiceAccountKeys, ServiceAccountKeysSchema } from "#proto/earshot/internal/v1/control_plane_pb.ts";

interface ClusterKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly publicJwk: JWK;
}

export interface TokenParts {
  readonly namespace?: string;
  readonly name: string;
  readonly audience: string;
  /** Seconds from now on. */
  readonly seconds?: number;
  /** Win over the usual ones. */
  readonly claims?: JWTPayload;
}

export class TestCluster {
  readonly issuer = "https://kubernetes.default.svc.cluster.local";
  #keys: readonly ClusterKey[] = [];

  static async create(alg = "RS256"): Promise<TestCluster> {
    const cluster = new TestCluster();
    await cluster.addKey(alg);
    return cluster;
  }

  /** From now on this key signs; the others still count. */
  async addKey(alg = "RS256"): Promise<void> {
    const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
    const kid = `key-${this.#keys.length}-${Math.random()}`;
    this.#keys = [...this.#keys, { kid, alg, privateKey, publicJwk: { ...(await exportJWK(publicKey)), kid, alg } }];
  }

  /** The keys before the last one count no longer. */
  dropOldKeys(): void {
    this.#keys = this.#keys.slice(-1);
  }

  /** As an operator hands them out. */
  keys(isPublic = true): ServiceAccountKeys {
    const jwks = JSON.stringify({ keys: this.#keys.map(({ publicJwk }) => publicJwk) });
    return create(ServiceAccountKeysSchema, { issuer: this.issuer, jwks, public: isPublic });
  }

  async token({ namespace = "shop", name, audience, seconds = 3_600, claims }: TokenParts): Promise<string> {
    const key = this.#keys.at(-1);
    if (key === undefined) throw new Error("this cluster has no key");
    const nowS = Math.floor(Date.now() / 1000);
    const whole = {
      iss: this.issuer,
      sub: `system:serviceaccount:${namespace}:${name}`,
      aud: [audience],
      iat: nowS,
      nbf: nowS,
      exp: nowS + seconds,
      jti: "5c1d6d1d-0f5b-4b07-9d6e-2f5d6c1b1f3a",
      "kubernetes.io": {
        namespace,
        node: { name: "node-1", uid: "1" },
        pod: { name: `${name}-abc`, uid: "2" },
        serviceaccount: { name, uid: "3" },
        warnafter: nowS + 3_607,
      },
      ...claims,
    };
    return await new SignJWT(whole).setProtectedHeader({ alg: key.alg, kid: key.kid }).sign(key.privateKey);
  }
}
