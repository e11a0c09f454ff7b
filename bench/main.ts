// Owns: `npm run bench -- <name> [arguments]`: the benches by name, with what each measures. Each is a file of this folder,
// run in a process of its own; its method stands at its head.

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

const BENCHES: Readonly<Record<string, string>> = {
  "router-alone": "messages one router hands on a CPU-second       [seconds] [messages a frame] [topics]",
  "gateway-fan-out": "what a delivery costs a gateway, beside plain ws  [subscribers] [rounds] [seconds a round]",
  idle: "what a client that only waits costs a gateway and a router: memory, and being let in  [connections] [steps]",
  churn:
    "what coming and going leaves behind: slopes of memory, handles, files  [--minutes] [--connections] [--percent]",
  "operator-topics":
    "what very many Topics cost an operator in Kubernetes  [--topics 10000] [--starts 3] [--applied 200]",
  "control-plane":
    "how long a new shard map takes to be in force everywhere  [--gateways 50] [--scripted 0] [--routers 20] [--rounds 5]",
  failures: "what a death costs: lost, doubled, told, time to the next delivery  [--runs 20] [--only router-killed]",
};

const [name, ...rest] = process.argv.slice(2);
const file = join(import.meta.dirname, `${name}.ts`);
if (name === undefined || !(name in BENCHES) || !existsSync(file)) {
  const lines = Object.entries(BENCHES).map(([each, measures]) => `  ${each.padEnd(18)}${measures}`);
  process.stderr.write(`npm run bench -- <name> [arguments]\n${lines.join("\n")}\n`);
  process.exitCode = 2;
} else {
  process.exitCode = spawnSync(process.execPath, [file, ...rest], { stdio: "inherit" }).status ?? 1;
}
