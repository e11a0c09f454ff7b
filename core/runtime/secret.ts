// Owns: the HS256 secret that standalone mode makes for itself and keeps in its state folder. The supervisor makes it,
// `npm run token` signs with it. Readable by its owner alone; whoever comes first makes it, everybody else reads it.

import { randomBytes } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigError } from "./config.ts";
import { messageOf } from "./errors.ts";

/** Bytes of an HS256 key: as long as its hash (RFC 7518, section 3.2). */
export const SECRET_BYTES_MIN = 32;

/**
 * The secret in `<stateFolder>/secret`, made there when it is not. Throws ConfigError when it cannot be read or made,
 * or is too short.
 */
export function loadOrCreateSecret(stateFolder: string): string {
  const path = join(stateFolder, "secret");
  try {
    const secret = readIfThere(path) ?? create(stateFolder, path);
    if (Buffer.byteLength(secret) >= SECRET_BYTES_MIN) return secret;
  } catch (error) {
    throw new ConfigError(`the secret ${path} cannot be read or made (--state, EARSHOT_STATE): ${messageOf(error)}`);
  }
  throw new ConfigError(
    `the secret ${path} is shorter than ${SECRET_BYTES_MIN} bytes; remove it and a new one is made`,
  );
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if (isErrorWith(error, "ENOENT")) return undefined;
    throw error;
  }
}

function create(stateFolder: string, path: string): string {
  const secret = randomBytes(SECRET_BYTES_MIN).toString("base64url");
  mkdirSync(stateFolder, { recursive: true });
  const whole = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(whole, `${secret}\n`, { mode: 0o600 });
    // Unlike a rename, a link never replaces what another process made meanwhile.
    linkSync(whole, path);
    return secret;
  } catch (error) {
    if (isErrorWith(error, "EEXIST")) return readFileSync(path, "utf8").trim();
    throw error;
  } finally {
    rmSync(whole, { force: true });
  }
}

function isErrorWith(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
