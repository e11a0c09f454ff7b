import { createHmac, generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import type { Principal } from "#core/domain/principal.ts";
import { INFO_BYTES_MAX, NAME_LENGTH_MAX } from "#core/edge/claims.ts";
import { BAD_TOKENS_BURST, PROVEN_TOKENS_MAX, Tokens } from "#core/edge/tokens.ts";
import { TOKEN_LENGTH_MAX } from "#core/runtime/jwt.ts";
import { PATTERNS_MAX } from "#core/domain/capability.ts";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import { HandClock } from "../harness/hand-clock.ts";

const SECRET = "a secret of thirty-two bytes, at least";
const clock = new HandClock();
const NOW_S = Math.floor(clock.now() / 1000);

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function tokensOf(
  config: { secret?: string; issuers?: unknown; audience?: string; shutOut?: readonly string[] } = {},
  on = clock,
  registry = new Registry(),
): Tokens {
  const whole = { secret: SECRET, issuers: [], audience: "earshot", shutOut: [], ...config };
  return new Tokens({ config: whole, clock: on, log: createLog("silent", {}), registry });
}

const base64url = (value: unknown): string =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

/** `claims` may be JSON text, for what an object cannot say. */
function sign(claims: object | string, secret = SECRET, header: object = { alg: "HS256" }): string {
  const whole = typeof claims === "string" ? claims : { sub: "alice", aud: "earshot", exp: NOW_S + 3_600, ...claims };
  const signed = `${base64url(header)}.${base64url(whole)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

function prove(token: string, tokens = tokensOf()): Promise<Principal> {
  return tokens.prove(token, undefined);
}

async function refusalOf(token: string, tokens = tokensOf()): Promise<string> {
  const error: unknown = await prove(token, tokens).then(
    () => new Error("accepted"),
    (failure: unknown) => failure,
  );
  const { code, message } = error as { code?: string; message: string };
  return `${code ?? "none"}: ${message}`;
}

test("a user who is shut out is forbidden, whatever the token says, and also when it is known already", async () => {
  const tokens = tokensOf({ shutOut: ["mallory"] });
  const refusal = "forbidden: this user is shut out of this installation";
  for (let time = 0; time < 2; time++) {
    expect(await refusalOf(sign({ sub: "mallory", earshot: { manage: ["*"] } }), tokens)).toBe(refusal);
  }
  expect(await prove(sign({ sub: "mallory2" }), tokens)).toMatchObject({ userId: "mallory2" });
});

test("a token signed with the installation's secret proves its bearer, with all it says", async () => {
  const earshot = {
    subscribe: ["shop.chat:*"],
    publish: ["shop.chat:room-42"],
    manage: ["*"],
    info: { name: "Alice" },
  };
  expect(await prove(sign({ groups: ["staff"], earshot }))).toEqual({
    kind: "user",
    userId: "alice",
    groups: ["staff"],
    capabilities: { subscribe: ["shop.chat:*"], publish: ["shop.chat:room-42"], manage: ["*"] },
    namespaces: undefined,
    expiresAtMs: (NOW_S + 3_600) * 1000,
    info: '{"name":"Alice"}',
  });
});

test("the issuer of the own secret is earshot or nobody", async () => {
  expect(await prove(sign({ iss: "earshot" }))).toMatchObject({ userId: "alice" });
  expect(await refusalOf(sign({ iss: "other" }))).toBe(
    "unauthenticated: the token's issuer (iss) is not one of this installation",
  );
  expect(await refusalOf(sign({ iss: 1 }))).toContain("unauthenticated");
});

test("without a secret of its own an installation takes no such token", async () => {
  expect(await refusalOf(sign({}), tokensOf({ secret: "" }))).toContain("has no secret of its own");
});

test("a signature of another key, a changed claim and no signature are refused", async () => {
  const signature = "unauthenticated: the token's signature does not fit its issuer's key";
  expect(await refusalOf(sign({}, "another secret of thirty-two bytes..."))).toBe(signature);
  const [header, , tail] = sign({}).split(".");
  const other = { sub: "root", aud: "earshot", exp: NOW_S + 3_600 };
  expect(await refusalOf(`${header}.${base64url(other)}.${tail}`)).toBe(signature);
  const [first, second] = sign({}).split(".");
  expect(await refusalOf(`${first}.${second}.`)).toBe(signature);
});

test("an algorithm that the key is not for is refused before the key is used", async () => {
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const pem = publicKey.export({ type: "spki", format: "pem" }).toString();
  for (const header of [{ alg: "none" }, { alg: "HS512" }, { alg: "RS256" }, { alg: "hs256" }, {}]) {
    expect(await refusalOf(sign({}, SECRET, header)), JSON.stringify(header)).toContain("unauthenticated");
  }
  const rsa = tokensOf({ issuers: [{ issuer: "https://i", jwksUri: "https://127.0.0.1:1/" }] });
  expect(await refusalOf(sign({ iss: "https://i" }, pem), rsa)).toBe(
    "unauthenticated: tokens of this issuer are signed with RS256, ES256, EdDSA",
  );
});

test("a header with extensions that must be understood is refused", async () => {
  for (const header of [
    { alg: "HS256", crit: ["b64"], b64: false },
    { alg: "HS256", crit: ["x"], x: 1 },
  ]) {
    expect(await refusalOf(sign({}, SECRET, header))).toBe("unauthenticated: the token is not a signed JWT");
  }
});

test("what is no token at all is refused without a trace of it in the message", async () => {
  for (const garbage of [
    "",
    "a",
    "a.b",
    "a.b.c",
    "..",
    "a.b.c.d.e",
    `${base64url("{}")}.${base64url("[1]")}.x`,
    "é.é.é",
  ]) {
    expect(await refusalOf(garbage), garbage).toBe("unauthenticated: the token is not a signed JWT");
  }
});

test("a token is read at its longest and refused unseen one character past it", async () => {
  const token = sign({});
  const padded = `${token}${"A".repeat(TOKEN_LENGTH_MAX - token.length)}`;
  expect(await refusalOf(padded)).toContain("signature");
  expect(await refusalOf(`${padded}A`)).toBe(`unauthenticated: a token has at most ${TOKEN_LENGTH_MAX} characters`);
});

test("sub, exp and aud must be there", async () => {
  for (const claim of ["sub", "exp", "aud"]) {
    expect(await refusalOf(sign({ [claim]: undefined }))).toBe(
      `unauthenticated: the token is not accepted: ${claim} is missing`,
    );
  }
});

test("a token ends at exp and not a moment later, also when it is remembered", async () => {
  const moving = new HandClock();
  const tokens = tokensOf({}, moving);
  const token = sign({ exp: Math.floor(moving.now() / 1000) + 10 });
  expect(await prove(token, tokens)).toMatchObject({ userId: "alice" });
  moving.advance(9_999);
  expect(await prove(token, tokens)).toMatchObject({ userId: "alice" });
  moving.advance(1);
  const now = `${new Date(moving.now()).toISOString().slice(0, 19)}Z`;
  const told = `token_expired: the token expired 0 s ago by this server's clock (${now})`;
  expect(await refusalOf(token, tokens)).toBe(told);
  expect(await refusalOf(token, tokensOf({}, moving))).toBe(told);
  moving.advance(45_500);
  for (const each of [tokens, tokensOf({}, moving)]) {
    expect(await refusalOf(token, each)).toContain("the token expired 45 s ago by this server's clock (2");
  }
});

test("a token of whoever's clock is ahead is good: iat is not looked at", async () => {
  expect(await prove(sign({ iat: NOW_S + 3_600 }))).toMatchObject({ userId: "alice" });
});

test("exp in milliseconds, negative, a text or huge is refused by name", async () => {
  for (const exp of [clock.now(), -1, "1", 1e300, null]) {
    expect(await refusalOf(sign({ exp }))).toContain("unauthenticated: the token is not accepted: exp");
  }
});

test("nbf may lie five seconds ahead and no more", async () => {
  expect(await prove(sign({ nbf: NOW_S + 5 }))).toMatchObject({ userId: "alice" });
  expect(await refusalOf(sign({ nbf: NOW_S + 6 }))).toBe(
    "unauthenticated: the token is not accepted: nbf lies 6 s ahead of this server's clock " +
      `(${new Date(NOW_S * 1000).toISOString().slice(0, 19)}Z), more than 5 s`,
  );
});

test("aud may be a list and must name this installation", async () => {
  expect(await prove(sign({ aud: ["x", "earshot"] }))).toMatchObject({ userId: "alice" });
  expect(await refusalOf(sign({ aud: "x" }))).toContain("aud must name earshot");
  expect(await refusalOf(sign({ aud: ["x"] }))).toContain("aud must name earshot");
  expect(await refusalOf(sign({ aud: 1 }))).toContain("aud must be a string");
});

test("names that Kubernetes and Earshot give out themselves belong to no token", async () => {
  for (const sub of ["system:admin", "system:serviceaccount:shop:web", "anonymous:g1-1"]) {
    expect(await refusalOf(sign({ sub }))).toContain("sub must not begin with");
  }
  expect(await refusalOf(sign({ groups: ["staff", "system:masters"] }))).toContain(
    "groups[1] must not begin with system:",
  );
});

test("a user id has 1 to 256 characters, none of them a control character", async () => {
  expect(await prove(sign({ sub: "a".repeat(NAME_LENGTH_MAX) }))).toMatchObject({ kind: "user" });
  for (const sub of ["", "a".repeat(NAME_LENGTH_MAX + 1), "a\nb", "a\0", "\ud800", 1, null]) {
    expect(await refusalOf(sign({ sub }))).toContain("unauthenticated: the token is not accepted: sub");
  }
});

test("groups must be a list of names", async () => {
  for (const groups of ["staff", [1], [""], {}, null]) {
    expect(await refusalOf(sign({ groups }))).toContain("unauthenticated: the token is not accepted: groups");
  }
});

test("the earshot claim is read strictly, and names what is wrong with it", async () => {
  const wrong: readonly (readonly [unknown, string])[] = [
    ["all", "earshot must be an object"],
    [[], "earshot must be an object"],
    [{ publish: "shop.*" }, "earshot.publish must be an array"],
    [{ publish: ["a", 1] }, "earshot.publish[1] must be a string"],
    [
      { subscribe: ["ok.*", "*a"] },
      "earshot.subscribe[1] must be a topic id, the beginning of one with * behind, or *",
    ],
    [{ manage: Array.from({ length: PATTERNS_MAX + 1 }, () => "a") }, "earshot.manage has 129 items"],
    [{ pubish: ["*"] }, "earshot.pubish is not a field here"],
  ];
  for (const [earshot, message] of wrong) expect(await refusalOf(sign({ earshot }))).toContain(message);
  const most = { publish: Array.from({ length: PATTERNS_MAX }, (_, index) => `a.b${index}`) };
  expect(await prove(sign({ earshot: most }))).toMatchObject({ kind: "user" });
});

test("info is any JSON, byte for byte, up to 4 KiB", async () => {
  const claims = (info: string): string =>
    `{"sub":"alice","aud":"earshot","exp":${NOW_S + 60},"earshot":{"info":${info}}}`;
  expect(await prove(sign(claims('{"b":12345678901234567890,"a":1}')))).toMatchObject({
    info: '{"b":12345678901234567890,"a":1}',
  });
  expect(await prove(sign(claims("null")))).toMatchObject({ info: undefined });
  expect(await prove(sign(claims(`"${"a".repeat(INFO_BYTES_MAX - 2)}"`)))).toMatchObject({ kind: "user" });
  expect(await refusalOf(sign(claims(`"${"a".repeat(INFO_BYTES_MAX - 1)}"`)))).toContain("earshot.info has more than");
  expect(await refusalOf(sign(claims(`"${"é".repeat(INFO_BYTES_MAX / 2)}"`)))).toContain("earshot.info has more than");
});

test("a claim that stands twice is refused, not read one way here and another way elsewhere", async () => {
  expect(await refusalOf(sign(`{"sub":"alice","sub":"root","aud":"earshot","exp":${NOW_S + 60}}`))).toContain(
    "unauthenticated",
  );
});

test("deep claims and claims that are not UTF-8 are refused", async () => {
  expect(await refusalOf(sign({ x: JSON.parse(`${"[".repeat(200)}${"]".repeat(200)}`) as unknown }))).toContain(
    "unauthenticated",
  );
  const signed = `${base64url({ alg: "HS256" })}.${Buffer.from([0x7b, 0xff, 0x7d]).toString("base64url")}`;
  const token = `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
  expect(await refusalOf(token)).toContain("unauthenticated");
});

test("proven tokens that nobody used for ten minutes are forgotten when another is proven", async () => {
  const own = new HandClock();
  const registry = new Registry();
  const tokens = tokensOf({}, own, registry);
  const remembered = async (): Promise<string | undefined> =>
    /^earshot_remembered_tokens (\d+)$/m.exec(await registry.metrics())?.[1];
  for (let index = 0; index < 10; index++) await prove(sign({ sub: `early-${index}` }), tokens);
  own.advance(10 * 60_000 - 1);
  await prove(sign({ sub: "late" }), tokens);
  expect(await remembered()).toBe("11");
  own.advance(1);
  await prove(sign({ sub: "later" }), tokens);
  expect(await remembered()).toBe("2");
});

test("an address with too many bad tokens is refused unseen; its good ones, and others, are not", async () => {
  const own = new HandClock();
  const tokens = tokensOf({}, own);
  const good = sign({ exp: Math.floor(own.now() / 1000) + 3_600 });
  await tokens.prove(good, "10.0.0.1");
  const bad = async (): Promise<unknown> =>
    await tokens.prove("a.b.c", "10.0.0.1").catch((error: unknown) => (error as { code: string }).code);
  for (let index = 0; index < BAD_TOKENS_BURST; index++) expect(await bad()).toBe("unauthenticated");
  expect(await bad()).toBe("rate_limited");
  expect(await tokens.prove(good, "10.0.0.1")).toMatchObject({ userId: "alice" });
  expect(await tokens.prove(good, "10.0.0.2")).toMatchObject({ userId: "alice" });
  own.advance(1_000);
  expect(await bad()).toBe("unauthenticated");
});

test("an issuer with a secret file speaks for its namespaces, with its audience, and its file may change", async () => {
  const folder = mkdtempSync(join(tmpdir(), "earshot-issuer-"));
  folders.push(folder);
  const secretFile = join(folder, "secret");
  writeFileSync(secretFile, "the first secret of thirty-two bytes\n");
  const own = new HandClock();
  const issuers = [{ issuer: "shop", secretFile, audiences: ["web"], namespaces: ["shop"] }];
  const tokens = tokensOf({ issuers }, own);
  const token = (secret: string, aud = "web"): string =>
    sign({ iss: "shop", aud, exp: Math.floor(own.now() / 1000) + 3_600 }, secret);
  expect(await prove(token("the first secret of thirty-two bytes"), tokens)).toMatchObject({ namespaces: ["shop"] });
  expect(await refusalOf(token("the first secret of thirty-two bytes", "earshot"), tokens)).toContain(
    "aud must name web",
  );
  expect(await refusalOf(token(SECRET), tokens)).toContain("signature");
  writeFileSync(secretFile, "the next secret of thirty-two bytes.\n");
  expect(await refusalOf(token("the next secret of thirty-two bytes."), tokens)).toContain("signature");
  own.advance(10_000);
  expect(await prove(token("the next secret of thirty-two bytes."), tokens)).toMatchObject({ userId: "alice" });
  writeFileSync(secretFile, "short");
  own.advance(10_000);
  expect(await prove(token("the next secret of thirty-two bytes."), tokens)).toMatchObject({ userId: "alice" });
});

test("an installation with a wrong secret or issuer does not start, and says which", () => {
  const wrong: readonly (readonly [object, string])[] = [
    [{ secret: "short" }, "secret (EARSHOT_SECRET) must have 32 bytes at least"],
    [{ issuers: {} }, "issuers must be a list"],
    [{ issuers: [1] }, "issuers[0] must be {issuer"],
    [{ issuers: [{ issuer: "a" }] }, "issuers[0] must have exactly one of jwksUri and secretFile"],
    [{ issuers: [{ issuer: "a", jwksUri: "https://a", secretFile: "b" }] }, "exactly one of"],
    [{ issuers: [{ issuer: "a", jwksUri: "http://a.example" }] }, "issuers[0].jwksUri must be an https address"],
    [{ issuers: [{ issuer: "a", jwksUri: "file:///etc/passwd" }] }, "issuers[0].jwksUri must be"],
    [{ issuers: [{ issuer: "a", jwksUri: "https://u:p@a" }] }, "issuers[0].jwksUri must be"],
    [{ issuers: [{ issuer: "a", secretFile: "/does/not/exist" }] }, "issuers[0].secretFile cannot be used"],
    [{ issuers: [{ issuer: "earshot", jwksUri: "https://a" }] }, "issuers[0].issuer must not be earshot"],
    [{ issuers: [{ issuer: "a", jwksUri: "https://a", audience: "x" }] }, "issuers[0].audience is not known"],
    [{ issuers: [{ issuer: "a", jwksUri: "https://a", audiences: [] }] }, "issuers[0].audiences must be a list"],
    [{ issuers: [{ issuer: "a", jwksUri: "https://a", namespaces: ["A"] }] }, "issuers[0].namespaces[0]"],
    [
      {
        issuers: [
          { issuer: "a", jwksUri: "https://a" },
          { issuer: "a", jwksUri: "https://b" },
        ],
      },
      "issuers[1].issuer names a again",
    ],
  ];
  for (const [config, message] of wrong) expect(() => tokensOf(config), message).toThrow(message);
  for (const jwksUri of [
    "https://a.example/jwks",
    "http://127.0.0.1:1/",
    "http://[::1]:1/",
    "http://dex.auth.svc/keys",
  ]) {
    expect(() => tokensOf({ issuers: [{ issuer: "a", jwksUri }] })).not.toThrow();
  }
});

test("proven tokens are remembered up to a number; then the one used longest ago is forgotten, and proven anew", async () => {
  const registry = new Registry();
  const tokens = tokensOf({}, clock, registry);
  const valueOf = async (name: string, outcome?: string): Promise<number> => {
    const { values } = (await registry.getSingleMetric(name)?.get()) ?? { values: [] };
    return values.find(({ labels }) => labels["outcome"] === outcome)?.value ?? 0;
  };
  const first = sign({ sub: "user-0" });
  for (let index = 0; index < PROVEN_TOKENS_MAX; index++) await prove(sign({ sub: `user-${index}` }), tokens);
  expect(await valueOf("earshot_remembered_tokens")).toBe(PROVEN_TOKENS_MAX);
  await prove(first, tokens);
  expect(await valueOf("earshot_token_verifications_total", "remembered")).toBe(1);
  await prove(sign({ sub: "one more" }), tokens);
  expect(await valueOf("earshot_remembered_tokens")).toBe(PROVEN_TOKENS_MAX);
  await prove(first, tokens);
  expect(await valueOf("earshot_token_verifications_total", "remembered")).toBe(2);
  const proven = await valueOf("earshot_token_verifications_total", "proven");
  await prove(sign({ sub: "user-1" }), tokens);
  expect(await valueOf("earshot_token_verifications_total", "proven")).toBe(proven + 1);
});

test("no text at all is taken for a token, and none makes anything but an unauthenticated error", async () => {
  const tokens = tokensOf();
  const parts = fc.oneof(
    fc.string({ maxLength: 20 }),
    fc.json().map((text) => base64url(text)),
    fc.constantFrom(...sign({}).split(".")),
  );
  const texts = fc.oneof(
    fc.string(),
    fc.array(parts, { maxLength: 5 }).map((list) => list.join(".")),
  );
  await fc.assert(
    fc.asyncProperty(texts, async (text) => {
      fc.pre(text !== sign({}));
      expect(await refusalOf(text, tokens)).toMatch(/^unauthenticated: /);
    }),
  );
});
