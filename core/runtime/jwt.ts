// Owns: the outer form of tokens (JWT, RFC 7519): what one says of itself before it is proven, the public keys of an
// issuer (RFC 7517), and proving a signature. Invariant: no token, or part of one, is ever in a message.
// Elsewhere: what the claims must say (jwt-claims.ts, core/edge/claims.ts), which issuer's keys count (their owners).

import {
  type CryptoKey,
  compactVerify,
  createLocalJWKSet,
  decodeProtectedHeader,
  errors,
  type JWK,
  type JWSHeaderParameters,
} from "jose";
import { readJsonObject } from "../domain/json-text.ts";
import { EarshotError } from "./errors.ts";

/** Characters of a token: more than any HTTP server takes in one header. Checked before anything is decoded. */
export const TOKEN_LENGTH_MAX = 16 * 1024;

/** Keys taken from one key set. */
const KEYS_MAX = 100;

const KEY_TYPES = ["RSA", "EC", "OKP"];

export interface Peeked {
  readonly header: { readonly alg?: string; readonly kid?: string };
  readonly issuerName: string | undefined;
}

/** What a token says of itself, unproven: only good for choosing the key it must then be proven with. */
export function peekToken(token: string): Peeked {
  if (token.length > TOKEN_LENGTH_MAX) {
    throw new EarshotError("unauthenticated", `a token has at most ${TOKEN_LENGTH_MAX} characters`);
  }
  const parts = token.split(".");
  if (parts.length !== 3) throw notAToken();
  const read = readJsonObject(Buffer.from(parts[1] ?? "", "base64url"), (fields) => {
    fields.ignoreOthers();
    return fields.optionalString("iss");
  });
  if (!read.ok) throw notAToken();
  try {
    const { alg, kid, crit } = decodeProtectedHeader(token);
    // Extensions that must be understood (RFC 7515, section 4.1.11); we know none.
    if (crit !== undefined) throw notAToken();
    return {
      header: { ...(typeof alg === "string" ? { alg } : {}), ...(typeof kid === "string" ? { kid } : {}) },
      issuerName: read.value,
    };
  } catch {
    throw notAToken();
  }
}

function notAToken(): EarshotError {
  return new EarshotError("unauthenticated", "the token is not a signed JWT");
}

/** The claims of a token (JSON bytes), once its signature is proven. Throws unauthenticated. */
export async function signedClaims(
  token: string,
  key: CryptoKey | Uint8Array,
  algorithms: readonly string[],
): Promise<Uint8Array> {
  try {
    return (await compactVerify(token, key, { algorithms: [...algorithms] })).payload;
  } catch {
    // jose's reasons (a bad signature, a broken header) help nobody but whoever guesses.
    throw new EarshotError("unauthenticated", "the token's signature does not fit its issuer's key");
  }
}

/** Public keys of signatures, and nothing else of what a JWKS document holds. */
export class PublicKeys {
  readonly #find: (header: JWSHeaderParameters) => Promise<CryptoKey>;

  /** Throws an Error when the text is no JWKS document, or holds no key that can be used. */
  constructor(text: string) {
    this.#find = createLocalJWKSet({ keys: publicKeysOf(text) });
  }

  /** The key that fits a token's header; undefined when none does, or it is no usable key. Throws unauthenticated. */
  async find(header: JWSHeaderParameters): Promise<CryptoKey | undefined> {
    try {
      return await this.#find(header);
    } catch (error) {
      if (error instanceof errors.JWKSMultipleMatchingKeys) {
        throw new EarshotError("unauthenticated", "the token names no key id (kid) and its issuer has several keys", {
          cause: error,
        });
      }
      return undefined;
    }
  }
}

function publicKeysOf(text: string): JWK[] {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new Error("the answer is not JSON");
  }
  const keys = typeof document === "object" && document !== null && "keys" in document ? document.keys : undefined;
  if (!Array.isArray(keys)) throw new Error("the answer is not a JSON Web Key Set: it has no list of keys");
  const taken = keys.filter(isPublicKey).slice(0, KEYS_MAX);
  if (taken.length === 0) throw new Error("the answer holds no public RSA, EC or OKP key");
  return taken;
}

/** Not a secret, not a private key: either would let whoever reads the address make tokens. */
function isPublicKey(key: unknown): key is JWK {
  if (typeof key !== "object" || key === null || !("kty" in key)) return false;
  return typeof key.kty === "string" && KEY_TYPES.includes(key.kty) && !("d" in key) && !("k" in key);
}
