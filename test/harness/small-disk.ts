// Owns: a disk that can be full: a small tmpfs as the state folder of an installation, in a mount namespace of its own,
// which an ordinary user may make where the kernel allows it. Filled and emptied from outside.

import { spawnSync } from "node:child_process";
import { rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Bytes of the disk: a fresh installation keeps some 30 KB. */
const DISK_BYTES = 1024 * 1024;

const MOUNT = `mkdir -p "$EARSHOT_STATE" && mount -t tmpfs -o size=${DISK_BYTES} earshot "$EARSHOT_STATE"`;

const FILL = `head -c ${2 * DISK_BYTES} /dev/zero >"$EARSHOT_STATE/fill" 2>/dev/null`;

/** What runs an installation on such a disk (StandaloneOptions.through), and on one that is full from the start. */
export const ON_SMALL_DISK = through(`${MOUNT} && exec "$@"`);
export const ON_FULL_DISK = through(`${MOUNT} && { ${FILL}; exec "$@"; }`);

function through(script: string): readonly string[] {
  return ["unshare", "-rm", "sh", "-c", script, "sh"];
}

/** Why there can be none here, or undefined. */
export function noSmallDisk(): string | undefined {
  const [program = "", ...args] = ON_SMALL_DISK;
  const env = { ...process.env, EARSHOT_STATE: "/tmp" };
  const { status, error, stderr } = spawnSync(program, [...args, "true"], { env });
  return status === 0 ? undefined : (error?.message ?? stderr.toString().trim());
}

/** Takes all that is free. */
export function fillDisk(folder: string): void {
  const { bfree, bsize } = statfsSync(folder);
  writeFileSync(join(folder, "fill"), Buffer.alloc(bfree * bsize));
}

export function freeDisk(folder: string): void {
  rmSync(join(folder, "fill"));
}
