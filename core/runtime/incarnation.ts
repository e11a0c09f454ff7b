// Owns: the random id of one process start. A restarted process is another one, whatever its name.

import { randomBytes } from "node:crypto";

/** 12 characters of a-z 0-9: 62 bits, so that two starts never meet, and it fits into every message id. */
export function newIncarnation(): string {
  const letters = "abcdefghijklmnopqrstuvwxyz0123456789";
  let id = "";
  for (const byte of randomBytes(12)) id += letters[byte % letters.length];
  return id;
}
