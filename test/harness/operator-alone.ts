// Owns: a real operator process with scripted gateways and routers around it.

import { afterEach } from "vitest";
import { type FleetOptions, startFleet, type TestFleet } from "./fleet.ts";
import { ScriptedMember } from "./scripted-member.ts";

const running: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of running.splice(0).toReversed()) await close();
});

/** Starts an operator and nothing else; ended after the test. */
export async function startOperator(options: Pick<FleetOptions, "topics" | "env"> = {}): Promise<TestFleet> {
  const fleet = await startFleet({ ...options, routers: 0, gateways: 0, presence: false });
  running.push(() => fleet.close());
  return fleet;
}

/** A scripted process, announced and connected; disconnected after the test. */
export async function join(
  fleet: TestFleet,
  role: "router" | "gateway",
  name: string,
  options: { readonly node?: string; readonly wantsTopics?: boolean; readonly epoch?: number } = {},
): Promise<ScriptedMember> {
  const scripted = new ScriptedMember({ role, name, peersFolder: fleet.peersFolder, ...options });
  running.push(async () => scripted.disconnect());
  scripted.announce();
  await scripted.connect();
  return scripted;
}
