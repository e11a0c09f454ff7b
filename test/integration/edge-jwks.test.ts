import { createHmac } from "node:crypto";
import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, expect, test } from "vitest";
import { exportJWK, generateSecret, SignJWT } from "jose";
import {
  JWKS_BYTES_MAX,
  JWKS_COOLDOWN_MS,
  JWKS_FRESH_MS,
  JWKS_OLD_MS,
  JWKS_STALE_MS,
  JWKS_TIMEOUT_MS,
  JWKS_WAITERS_MAX,
} from "#core/edge/jwks.ts";
import { Tokens } from "#core/edge/tokens.ts";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { type Algorithm, TestIssuer } from "../harness/issuer.ts";
import { until } from "../harness/until.ts";

let issuer: TestIssuer;
let clock: HandClock;
let registry: Registry;
const open: Tokens[] = [];

beforeEach(async () => {
  issuer = new TestIssuer();
  clock = new HandClock();
  await issuer.start();
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((tokens) => tokens.close()));
  await issuer.stop();
});

const SECRET = "the installation's own secret, long enough";

function tokensOf(more: readonly object[] = []): Tokens {
  const issuers = [{ issuer: issuer.name, jwksUri: issuer.uri, namespaces: ["shop"] }, ...more];
  const config = { secret: SECRET, issuers, audience: "earshot", shutOut: [] };
  registry = new Registry();
  const tokens = new Tokens({ config, clock, log: createLog("silent", {}), registry });
  open.push(tokens);
  return tokens;
}

/** Fetches that the last `tokensOf` has brought to a good end. */
async function fetched(): Promise<number> {
  const metric = await registry.getSingleMetric("earshot_jwks_fetches_total")?.get();
  return metric?.values.find(({ labels }) => labels["outcome"] === "ok")?.value ?? 0;
}

async function refusalOf(tokens: Tokens, token: string): Promise<string> {
  return await tokens.prove(token, undefined).then(
    () => "accepted",
    (error: unknown) => `${(error as { code?: string }).code}: ${(error as Error).message}`,
  );
}

/** A token of the own secret, to show that an issuer's trouble is its own. */
function ownToken(): string {
  const base64url = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { sub: "own", aud: "earshot", exp: Math.floor(clock.now() / 1000) + 3_600 };
  const signed = `${base64url({ alg: "HS256" })}.${base64url(claims)}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

const CANNOT_FETCH = "unauthenticated: the keys of the token's issuer cannot be fetched now";
const NO_KEY = "unauthenticated: no key of the token's issuer fits its key id (kid) and algorithm";

test.each<Algorithm>([
  "RS256",
  "ES256",
  "EdDSA",
])("a token signed with %s is proven by the issuer's key", async (alg) => {
  await issuer.addKey("k1", alg);
  const tokens = tokensOf();
  const token = await issuer.sign("k1", clock.now(), { groups: ["staff"] });
  expect(await tokens.prove(token, undefined)).toMatchObject({
    userId: "alice",
    groups: ["staff"],
    namespaces: ["shop"],
  });
  const [header, claims, signature = ""] = token.split(".");
  const forged = `${header}.${claims}.${signature.startsWith("A") ? "B" : "A"}${signature.slice(1)}`;
  expect(await refusalOf(tokens, forged)).toBe("unauthenticated: the token's signature does not fit its issuer's key");
});

test("keys are fetched once for many tokens at the same moment, and not again while they are fresh", async () => {
  await issuer.addKey("k1", "ES256");
  const tokens = tokensOf();
  const signed = await Promise.all(
    Array.from({ length: 50 }, (_, index) => issuer.sign("k1", clock.now(), { sub: `user-${index}` })),
  );
  await Promise.all(signed.map((token) => tokens.prove(token, undefined)));
  clock.advance(JWKS_FRESH_MS - 1);
  await tokens.prove(await issuer.sign("k1", clock.now()), undefined);
  expect(issuer.requests).toBe(1);
});

test("a new key is found by its unknown id; further unknown ids wait for the cooldown", async () => {
  await issuer.addKey("k1", "ES256");
  const tokens = tokensOf();
  await tokens.prove(await issuer.sign("k1", clock.now()), undefined);
  await issuer.addKey("k2", "ES256");
  expect(await refusalOf(tokens, await issuer.sign("k2", clock.now()))).toBe(NO_KEY);
  clock.advance(JWKS_COOLDOWN_MS);
  expect(await tokens.prove(await issuer.sign("k2", clock.now()), undefined)).toMatchObject({ userId: "alice" });
  expect(issuer.requests).toBe(2);
  await issuer.addKey("k3", "ES256");
  const unknown = await issuer.sign("k3", clock.now());
  issuer.keys.delete("k3");
  for (let index = 0; index < 20; index++) expect(await refusalOf(tokens, unknown)).toBe(NO_KEY);
  expect(issuer.requests).toBe(2);
});

test("a key that its issuer took back is refused once the keys were renewed, remembered tokens too", async () => {
  await issuer.addKey("k1", "ES256");
  await issuer.addKey("k2", "ES256");
  const tokens = tokensOf();
  const token = await issuer.sign("k1", clock.now());
  await tokens.prove(token, undefined);
  issuer.keys.delete("k1");
  clock.advance(JWKS_FRESH_MS);
  // This look renews behind the scenes; the next one sees the new keys.
  await tokens.prove(await issuer.sign("k2", clock.now()), undefined);
  await until(async () => (await fetched()) === 2, "keys are renewed");
  expect(await refusalOf(tokens, token)).toBe(NO_KEY);
});

test("a key that was taken back is refused at the first look, however long nobody had asked", async () => {
  await issuer.addKey("k1", "ES256");
  await issuer.addKey("k2", "ES256");
  const tokens = tokensOf();
  await tokens.prove(await issuer.sign("k2", clock.now()), undefined);
  clock.advance(JWKS_OLD_MS);
  const token = await issuer.sign("k1", clock.now());
  issuer.keys.delete("k1");
  expect(await refusalOf(tokens, token)).toBe(NO_KEY);
  expect(issuer.requests).toBe(2);
});

test("an issuer that hangs holds up one look at its old keys, and no further one", async () => {
  await issuer.addKey("k1", "ES256");
  const tokens = tokensOf();
  await tokens.prove(await issuer.sign("k1", clock.now()), undefined);
  clock.advance(JWKS_OLD_MS);
  issuer.answer = () => {};
  const startMs = performance.now();
  expect(await tokens.prove(await issuer.sign("k1", clock.now()), undefined)).toMatchObject({ userId: "alice" });
  const firstMs = performance.now() - startMs;
  clock.advance(60_000);
  expect(await tokens.prove(await issuer.sign("k1", clock.now()), undefined)).toMatchObject({ userId: "alice" });
  expect(performance.now() - startMs - firstMs).toBeLessThan(JWKS_TIMEOUT_MS / 2);
});

test("while the issuer is down its keys stay in use, for a bounded time", async () => {
  await issuer.addKey("k1", "ES256");
  const tokens = tokensOf();
  const sign = (): Promise<string> => issuer.sign("k1", clock.now());
  await tokens.prove(await sign(), undefined);
  await issuer.stop();
  clock.advance(JWKS_STALE_MS - 1);
  expect(await tokens.prove(await sign(), undefined)).toMatchObject({ userId: "alice" });
  clock.advance(1);
  expect(await refusalOf(tokens, await sign())).toBe(CANNOT_FETCH);
  expect(await tokens.prove(ownToken(), undefined)).toMatchObject({ userId: "own" });
});

test("an issuer that is down from the start is asked with growing pauses, and believed once it is back", async () => {
  await issuer.addKey("k1", "ES256");
  const token = await issuer.sign("k1", clock.now());
  const tokens = tokensOf();
  await issuer.stop();
  for (let index = 0; index < 20; index++) expect(await refusalOf(tokens, token)).toBe(CANNOT_FETCH);
  await issuer.start();
  expect(await refusalOf(tokens, token)).toBe(CANNOT_FETCH);
  expect(issuer.requests).toBe(0);
  clock.advance(1_000);
  expect(await tokens.prove(token, undefined)).toMatchObject({ userId: "alice" });
  expect(issuer.requests).toBe(1);
});

test("an issuer that does not answer costs its own tokens bounded time, and others none", async () => {
  await issuer.addKey("k1", "ES256");
  const token = await issuer.sign("k1", clock.now());
  const tokens = tokensOf();
  issuer.answer = () => {};
  const startMs = performance.now();
  const slow = refusalOf(tokens, token);
  await until(() => issuer.requests === 1, "keys are asked for");
  expect(await tokens.prove(ownToken(), undefined)).toMatchObject({ userId: "own" });
  expect(await slow).toBe(CANNOT_FETCH);
  expect(performance.now() - startMs).toBeLessThan(JWKS_TIMEOUT_MS + 2_000);
  expect(issuer.requests).toBe(1);
});

test("tokens that wait for a slow issuer are bounded in number", async () => {
  await issuer.addKey("k1", "ES256");
  const token = await issuer.sign("k1", clock.now());
  const tokens = tokensOf();
  issuer.answer = () => {};
  const waiting = Array.from({ length: JWKS_WAITERS_MAX }, () => refusalOf(tokens, token));
  expect(await refusalOf(tokens, token)).toBe("overloaded: too many tokens wait for the keys of their issuer");
  await tokens.close();
  expect(new Set(await Promise.all(waiting))).toEqual(new Set([CANNOT_FETCH]));
});

test("an answer that drips is cut off in time", async () => {
  await issuer.addKey("k1", "ES256");
  const token = await issuer.sign("k1", clock.now());
  let drip: NodeJS.Timeout | undefined;
  issuer.answer = (response) => {
    drip = setInterval(() => response.write(" "), 100);
  };
  const startMs = performance.now();
  expect(await refusalOf(tokensOf(), token)).toBe(CANNOT_FETCH);
  clearInterval(drip);
  expect(performance.now() - startMs).toBeLessThan(JWKS_TIMEOUT_MS + 2_000);
});

test("an answer that never ends is cut off at its size", async () => {
  await issuer.addKey("k1", "ES256");
  const token = await issuer.sign("k1", clock.now());
  let closed = false;
  issuer.answer = (response) => {
    const more = (): void => {
      while (response.write("x".repeat(65_536)));
    };
    response.on("drain", more).on("close", () => {
      closed = true;
    });
    more();
  };
  expect(await refusalOf(tokensOf(), token)).toBe(CANNOT_FETCH);
  await until(() => closed, "the connection is let go of");
});

test("a key set is taken at its largest and refused one byte past it", async () => {
  await issuer.addKey("k1", "ES256");
  const token = await issuer.sign("k1", clock.now());
  const text = JSON.stringify(issuer.document());
  issuer.answer = (response) => response.end(text.padEnd(JWKS_BYTES_MAX));
  expect(await tokensOf().prove(token, undefined)).toMatchObject({ userId: "alice" });
  issuer.answer = (response) => response.end(text.padEnd(JWKS_BYTES_MAX + 1));
  expect(await refusalOf(tokensOf(), token)).toBe(CANNOT_FETCH);
});

test("answers that are no key set are refused: pages, redirects, errors, other JSON", async () => {
  await issuer.addKey("k1", "ES256");
  const token = await issuer.sign("k1", clock.now());
  const good = JSON.stringify(issuer.document());
  const lies: readonly ((response: ServerResponse) => void)[] = [
    (response) => response.setHeader("content-type", "text/html").end("<html><body>Sign in</body></html>"),
    (response) => response.writeHead(302, { location: issuer.uri }).end(),
    (response) => response.writeHead(500).end(good),
    (response) => response.writeHead(404).end(good),
    (response) => response.end(""),
    (response) => response.end("null"),
    (response) => response.end("[]"),
    (response) => response.end('{"keys":{}}'),
    (response) => response.end('{"keys":[]}'),
    (response) => response.end('{"keys":[null,1,"a",{}]}'),
    (response) => response.destroy(),
  ];
  for (const lie of lies) {
    issuer.answer = lie;
    expect(await refusalOf(tokensOf(), token)).toBe(CANNOT_FETCH);
  }
});

test("keys that are broken, or of an algorithm that is not ours, prove nothing and break nothing", async () => {
  await issuer.addKey("k1", "ES256");
  const token = await issuer.sign("k1", clock.now());
  const [key] = issuer.document().keys;
  for (const broken of [
    { ...key, x: "AAAA" },
    { ...key, crv: "P-999" },
    { kty: "RSA", kid: "k1", alg: "ES256" },
    { ...key, use: "enc" },
    { ...key, kid: "other" },
  ]) {
    issuer.answer = (response) => response.end(JSON.stringify({ keys: [broken] }));
    expect(await refusalOf(tokensOf(), token)).toBe(NO_KEY);
  }
});

test("a secret or a private key in a key set is never taken: nobody who can read the address can make tokens", async () => {
  const secret = {
    ...(await exportJWK(await generateSecret("HS256", { extractable: true }))),
    kid: "k1",
    alg: "HS256",
  };
  await issuer.addKey("k1", "ES256");
  const token = await issuer.sign("k1", clock.now());
  issuer.answer = (response) => response.end(JSON.stringify({ keys: [secret] }));
  const tokens = tokensOf();
  expect(await refusalOf(tokens, token)).toBe(CANNOT_FETCH);
  const header = Buffer.from(JSON.stringify({ alg: "HS256", kid: "k1" })).toString("base64url");
  const claims = { iss: issuer.name, sub: "eve", aud: "earshot", exp: Math.floor(clock.now() / 1000) + 60 };
  const signed = `${header}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}`;
  const forged = `${signed}.${createHmac("sha256", Buffer.from(String(secret.k), "base64url"))
    .update(signed)
    .digest("base64url")}`;
  expect(await refusalOf(tokens, forged)).toBe(
    "unauthenticated: tokens of this issuer are signed with RS256, ES256, EdDSA",
  );
});

test("a public key is never taken for a secret (algorithm confusion)", async () => {
  await issuer.addKey("k1", "RS256");
  const tokens = tokensOf();
  await tokens.prove(await issuer.sign("k1", clock.now()), undefined);
  const [jwk] = issuer.document().keys;
  const header = Buffer.from(JSON.stringify({ alg: "HS256", kid: "k1" })).toString("base64url");
  const claims = { iss: issuer.name, sub: "eve", aud: "earshot", exp: Math.floor(clock.now() / 1000) + 60 };
  const signed = `${header}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}`;
  for (const key of [JSON.stringify(jwk), Buffer.from(String(jwk?.n), "base64url")]) {
    const forged = `${signed}.${createHmac("sha256", key).update(signed).digest("base64url")}`;
    expect(await refusalOf(tokens, forged)).toContain("unauthenticated: tokens of this issuer are signed with");
  }
});

test("a token without a key id is proven where the issuer has one key for it, and told so where it has several", async () => {
  await issuer.addKey("k1", "ES256");
  await issuer.addKey("r1", "RS256");
  const key = issuer.keys.get("k1");
  if (key === undefined) throw new Error("no key");
  const token = await new SignJWT({ iss: issuer.name, sub: "alice", aud: "earshot" })
    .setExpirationTime(Math.floor(clock.now() / 1000) + 60)
    .setProtectedHeader({ alg: "ES256" })
    .sign(key.privateKey);
  expect(await tokensOf().prove(token, undefined)).toMatchObject({ userId: "alice" });
  await issuer.addKey("k2", "ES256");
  expect(await refusalOf(tokensOf(), token)).toContain("names no key id (kid) and its issuer has several keys");
});

test("a token of one issuer never passes as another's", async () => {
  const other = new TestIssuer();
  await other.start();
  try {
    await issuer.addKey("k1", "ES256");
    await other.addKey("k1", "ES256");
    const tokens = tokensOf([{ issuer: "https://other.example", jwksUri: other.uri }]);
    const stolen = await issuer.sign("k1", clock.now(), { iss: "https://other.example" });
    expect(await refusalOf(tokens, stolen)).toContain("signature does not fit");
    expect(await refusalOf(tokens, await issuer.sign("k1", clock.now(), { iss: "https://third.example" }))).toContain(
      "is not one of this installation",
    );
  } finally {
    await other.stop();
  }
});
