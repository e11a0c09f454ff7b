import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Principal } from "#core/domain/principal.ts";
import { BAD_TOKENS_BURST, Tokens } from "#core/edge/tokens.ts";
import { ServiceAccounts } from "#core/fleet/service-accounts.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { createLog } from "#core/runtime/log.ts";
import { Registry } from "#core/runtime/metrics.ts";
import { TestCluster, type TokenParts } from "../harness/cluster-tokens.ts";
import { signToken } from "../harness/token.ts";

const SECRET = "a secret of thirty-two bytes, at least";
const log = createLog("silent", {});

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.create();
});

let accounts: ServiceAccounts;
let tokens: Tokens;
let registry: Registry;
beforeEach(() => {
  accounts = new ServiceAccounts({ clock: SYSTEM_CLOCK, log });
  registry = new Registry();
  tokens = tokensOf();
});

function tokensOf(more: { shutOut?: readonly string[]; issuers?: unknown } = {}): Tokens {
  const config = { secret: SECRET, issuers: [], audience: "earshot", shutOut: [], ...more };
  return new Tokens({ config, accounts, clock: SYSTEM_CLOCK, log, registry });
}

const checkout = (more: Partial<TokenParts> = {}): Promise<string> =>
  cluster.token({ name: "checkout", audience: "earshot", ...more });

const prove = (token: string): Promise<Principal> => tokens.prove(token, "192.0.2.1");

async function refusal(token: string): Promise<string> {
  try {
    await prove(token);
    return "accepted";
  } catch (error) {
    if (!(error instanceof EarshotError)) throw error;
    return `${error.code}: ${error.message}`;
  }
}

describe("a token of the cluster's ServiceAccounts", () => {
  beforeEach(() => accounts.update(cluster.keys()));

  test("proves its ServiceAccount, with the groups that Kubernetes gives it and no more", async () => {
    const expiresAtMs = (Math.floor(Date.now() / 1000) + 600) * 1000;
    const principal = await prove(await checkout({ claims: { exp: expiresAtMs / 1000, groups: ["staff"] } }));
    expect(principal).toEqual({
      kind: "serviceAccount",
      userId: "system:serviceaccount:shop:checkout",
      namespace: "shop",
      name: "checkout",
      groups: ["system:serviceaccounts", "system:serviceaccounts:shop"],
      capabilities: { publish: [], subscribe: [], manage: [] },
      namespaces: undefined,
      expiresAtMs,
      info: undefined,
    });
  });

  test("has no rights of its own: the earshot claim is not looked at", async () => {
    const principal = await prove(await checkout({ claims: { earshot: { publish: ["*"] } } }));
    expect(principal).toMatchObject({ capabilities: { publish: [] } });
  });

  const refused: [string, Partial<TokenParts>, string][] = [
    ["for other ears", { audience: "https://kubernetes.default.svc" }, "unauthenticated: .*aud must name earshot"],
    ["that is over", { seconds: -5 }, "token_expired: "],
    ["of a user", { claims: { sub: "alice" } }, "unauthenticated: .*sub must be"],
    ["of another account than its subject says", { claims: { sub: "system:serviceaccount:shop:root" } }, "sub must be"],
    ["bound to nothing", { claims: { "kubernetes.io": { namespace: "shop" } } }, "serviceaccount is missing"],
  ];
  test.each(refused)("%s is refused", async (_what, parts, why) => {
    expect(await refusal(await checkout(parts))).toMatch(new RegExp(why));
  });

  test("may be shut out", async () => {
    registry = new Registry();
    tokens = tokensOf({ shutOut: ["system:serviceaccount:shop:checkout"] });
    expect(await refusal(await checkout())).toContain("forbidden");
    expect(await refusal(await checkout({ name: "other" }))).toBe("accepted");
  });

  test("is remembered, until the key that proved it is gone", async () => {
    const rotating = await TestCluster.create("ES256");
    accounts.update(rotating.keys());
    const token = await rotating.token({ name: "checkout", audience: "earshot" });
    const user = signToken({ sub: "alice" }, SECRET);
    for (let time = 0; time < 2; time++) await Promise.all([prove(token), prove(user)]);
    expect(await registry.metrics()).toContain('earshot_token_verifications_total{outcome="remembered"} 2');
    await rotating.addKey("ES256");
    rotating.dropOldKeys();
    accounts.update(rotating.keys());
    expect(await refusal(token)).toContain("no key of the token's issuer");
    expect(await registry.metrics()).toContain("earshot_remembered_tokens 1");
  });
});

test("the cluster's tokens count where the installation takes them, and nowhere else", async () => {
  accounts.update(cluster.keys(false));
  expect(await refusal(await checkout())).toBe(
    "unauthenticated: the token's issuer (iss) is not one of this installation",
  );
  accounts.update({ issuer: "", jwks: "", public: true });
  expect(await refusal(await checkout())).toContain("is not one of this installation");
  expect(await refusal(signToken({ sub: "alice", iss: "" }, SECRET))).toContain("is not one of this installation");
});

test("before it is known which tokens count nobody is refused for it, and no address is held against it", async () => {
  const token = await checkout();
  for (let time = 0; time < BAD_TOKENS_BURST + 10; time++) {
    expect(await refusal(token)).toBe("overloaded: which issuers' tokens count is not known here yet");
  }
  expect(await refusal(signToken({ sub: "alice" }, SECRET))).toBe("accepted");
  accounts.update(cluster.keys());
  expect(await refusal(token)).toBe("accepted");
});

test("an issuer of users speaks for no ServiceAccount, whatever it says", async () => {
  accounts.update(cluster.keys());
  const sub = "system:serviceaccount:shop:checkout";
  const bound = { "kubernetes.io": { namespace: "shop", serviceaccount: { name: "checkout" } } };
  expect(await refusal(signToken({ sub, ...bound }, SECRET))).toContain("must not begin with system:");
});
