// Owns: a scripted router or operator in a process of its own, for tests that stop it (SIGSTOP) as a kernel or a
// hypervisor does. Run as a program: `scripted-process.ts router|operator <secret>`; it prints its address.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { ScriptedOperator } from "./scripted-operator.ts";
import { ScriptedRouter } from "./scripted-router.ts";

export interface ScriptedProcess {
  readonly address: string;
  readonly child: ChildProcess;
  /** SIGSTOP, SIGCONT or SIGKILL. */
  signal(signal: NodeJS.Signals): void;
}

/** Starts one; the caller ends it with SIGKILL. A router's incarnation is `frozen`. */
export async function startScripted(kind: "router" | "operator", secret: string): Promise<ScriptedProcess> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), kind, secret], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  return { address: line.toString().trim(), child, signal: (signal) => child.kill(signal) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , kind, secret = ""] = process.argv;
  const address =
    kind === "router"
      ? (await ScriptedRouter.listen("frozen", secret)).router.address
      : (await ScriptedOperator.listen(secret)).address;
  process.stdout.write(`${address}\n`);
}
