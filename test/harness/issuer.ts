// Owns: a token issuer for tests: a real HTTP server with its public keys, and tokens signed with the private ones. A
// test may make it answer anything, late, or not at all.

import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from "jose";

export type Algorithm = "RS256" | "ES256" | "EdDSA";

interface IssuerKey {
  readonly alg: Algorithm;
  readonly privateKey: CryptoKey;
  readonly publicJwk: JWK;
}

export class TestIssuer {
  readonly keys = new Map<string, IssuerKey>();
  /** Answers instead of the keys, while it is set. */
  answer: ((response: ServerResponse) => void) | undefined;
  /** Requests so far. */
  requests = 0;
  #server: Server | undefined;
  #port = 0;

  get name(): string {
    return "https://issuer.example";
  }

  get uri(): string {
    return `http://127.0.0.1:${this.#port}/jwks.json`;
  }

  /** Listens, on the port it had before where there was one. */
  async start(): Promise<void> {
    this.#server = createServer((_request, response) => {
      this.requests += 1;
      if (this.answer !== undefined) this.answer(response);
      else response.setHeader("content-type", "application/json").end(JSON.stringify(this.document()));
    });
    this.#server.listen(this.#port, "127.0.0.1");
    await once(this.#server, "listening");
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  }

  async addKey(kid: string, alg: Algorithm): Promise<void> {
    const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
    this.keys.set(kid, { alg, privateKey, publicJwk: { ...(await exportJWK(publicKey)), kid, alg, use: "sig" } });
  }

  document(): { keys: JWK[] } {
    return { keys: [...this.keys.values()].map((key) => key.publicJwk) };
  }

  /** A token signed with the key of `kid`. `claims` win over the usual ones. */
  async sign(kid: string, nowMs: number, claims: JWTPayload = {}): Promise<string> {
    const key = this.keys.get(kid);
    if (key === undefined) throw new Error(`no key ${kid}`);
    const whole = { iss: this.name, sub: "alice", aud: "earshot", exp: Math.floor(nowMs / 1000) + 3_600, ...claims };
    return await new SignJWT(whole).setProtectedHeader({ alg: key.alg, kid }).sign(key.privateKey);
  }
}
