// Owns: `npm run token`: a token for somebody, signed with the installation's own secret (EARSHOT_SECRET, or the one in
// the state folder). Prints the token and nothing else. Whatever is wrong is one sentence, and exit code 2.

import { SignJWT } from "jose";
import { isPattern, PATTERNS_MAX } from "#core/domain/capability.ts";
import { ConfigError, loadConfig, parseValue } from "#core/runtime/config.ts";
import { messageOf } from "#core/runtime/errors.ts";
import { loadOrCreateSecret } from "#core/runtime/secret.ts";

const USAGE =
  "npm run token -- <user> [--group G] [--subscribe P] [--publish P] [--manage P] [--ttl 1h] (flags but --ttl may repeat)";

const LISTS = ["group", "subscribe", "publish", "manage"] as const;
type ListName = (typeof LISTS)[number];

interface TokenRequest {
  readonly user: string;
  readonly ttlMs: number;
  readonly lists: Readonly<Record<ListName, readonly string[]>>;
}

const HOUR = 3_600_000;

/** How long a token is good: an hour where --ttl says nothing. */
const TTL = {
  kind: "duration",
  default: HOUR,
  min: 1_000,
  max: 365 * 24 * HOUR,
  readers: [],
  meaning: "How long the token is good.",
} as const;

/** Throws ConfigError. */
function parseArguments(argv: readonly string[]): TokenRequest {
  const lists: Record<ListName, string[]> = { group: [], subscribe: [], publish: [], manage: [] };
  let user: string | undefined;
  let ttlMs: number = TTL.default;
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index] ?? "";
    if (!argument.startsWith("--")) {
      if (user !== undefined) throw new ConfigError(`one user at a time, not ${user} and ${argument}: ${USAGE}`);
      user = argument;
      continue;
    }
    const equals = argument.indexOf("=");
    const flag = equals < 0 ? argument : argument.slice(0, equals);
    const value = equals < 0 ? argv[++index] : argument.slice(equals + 1);
    const list = LISTS.find((name) => flag === `--${name}`);
    if (list === undefined && flag !== "--ttl") throw new ConfigError(`${flag} is not known: ${USAGE}`);
    if (value === undefined || value === "") throw new ConfigError(`${flag} needs a value: ${USAGE}`);
    if (list === undefined) ttlMs = parseValue("--ttl", TTL, value) as number;
    else lists[list].push(value);
  }
  if (user === undefined || user === "") throw new ConfigError(`whose token? ${USAGE}`);
  checkNames([user, ...lists.group]);
  for (const name of ["subscribe", "publish", "manage"] as const) checkPatterns(name, lists[name]);
  return { user, ttlMs, lists };
}

function checkNames(names: readonly string[]): void {
  for (const name of names) {
    if (/^(system|anonymous):/.test(name)) throw new ConfigError(`${name} must not begin with system: or anonymous:`);
  }
}

function checkPatterns(name: ListName, patterns: readonly string[]): void {
  if (patterns.length > PATTERNS_MAX) throw new ConfigError(`--${name} may be given ${PATTERNS_MAX} times at most`);
  const wrong = patterns.find((pattern) => !isPattern(pattern));
  if (wrong === undefined) return;
  throw new ConfigError(`--${name} must be a topic id, the beginning of one with * behind, or *, not ${wrong}`);
}

async function main(): Promise<void> {
  const { user, ttlMs, lists } = parseArguments(process.argv.slice(2));
  const { config } = loadConfig("standalone", { argv: [], env: process.env });
  const secret = config.secret === "" ? loadOrCreateSecret(config.state) : config.secret;
  const { group, subscribe, publish, manage } = lists;
  const given = Object.entries({ subscribe, publish, manage }).filter(([, patterns]) => patterns.length > 0);
  const claims = {
    ...(group.length > 0 ? { groups: group } : {}),
    ...(given.length > 0 ? { earshot: Object.fromEntries(given) } : {}),
  };
  const nowS = Math.floor(Date.now() / 1000);
  const token = await new SignJWT(claims)
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setIssuer("earshot")
    .setSubject(user)
    .setAudience(config.audience)
    .setIssuedAt(nowS)
    .setExpirationTime(nowS + Math.ceil(ttlMs / 1000))
    .sign(Buffer.from(secret, "utf8"));
  process.stdout.write(`${token}\n`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof ConfigError ? messageOf(error) : String(error)}\n`);
  process.exitCode = 2;
});
