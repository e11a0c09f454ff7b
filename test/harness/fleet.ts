// Owns: real processes for tests, without the supervisor: a process that a test ended stays ended until the test starts
// it again. Every gateway has ports of its own. Ending is by process id; processes also end with the test's process.
// A whole standalone installation is started by standalone.ts.

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type PeerEndpoint, parseEndpoint } from "#core/fleet/peer-endpoint.ts";
import { loadConfig, parseValue, variableOf } from "#core/runtime/config.ts";
import type { DoorName, ToParent } from "#core/runtime/parent.ts";
import { type Config, SETTINGS, type SettingName } from "#core/runtime/settings.ts";
import { STANDALONE_DEFAULTS } from "../../standalone/prepare.ts";
import { type Role, type Slot, slotOf } from "../../standalone/slots.ts";
import { spawnSlot } from "../../standalone/spawn.ts";
import { keepLogs } from "./kept-logs.ts";
import { until } from "./until.ts";

export interface FleetOptions {
  readonly routers?: number;
  readonly gateways?: number;
  readonly operators?: number;
  readonly presence?: boolean;
  /** Manifests; one file each. Default: one Topic `default.demo`, Public, with channels. */
  readonly topics?: readonly string[];
  /** Settings of all processes, by variable: `{ EARSHOT_CONNECTIONS_MAX: "10" }`. */
  readonly env?: Readonly<Record<string, string>>;
  /** Further variables of one process. */
  readonly envOf?: (name: string) => Readonly<Record<string, string>>;
}

export const TEST_PEER_SECRET = "a test's peer secret";
export const TEST_SECRET = "a test's own secret, longer than 32 bytes";

const DEMO_TOPIC = `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: default, name: demo}
spec: {permissions: Public, channels: Dynamic}
`;

/** A second on an idle machine, for operators in Kubernetes two; tests run beside much else. */
const READY_WITHIN_MS = 60_000;

interface Running {
  readonly slot: Slot;
  readonly child: ChildProcess;
  ports: Partial<Record<DoorName, number>> | undefined;
  cannotStart: string | undefined;
}

/** Starts everything and waits until all of it is ready. */
export async function startFleet(options: FleetOptions = {}): Promise<TestFleet> {
  const fleet = new TestFleet(options);
  try {
    await fleet.startAll();
    return fleet;
  } catch (error) {
    await fleet.close();
    throw error;
  }
}

export class TestFleet {
  readonly folder = mkdtempSync(join(tmpdir(), "earshot-"));
  readonly topicsFolder = join(this.folder, "topics");
  readonly stateFolder = join(this.folder, "state");
  readonly peersFolder = join(this.stateFolder, "run");
  readonly notices: string[] = [];
  readonly #config: Config;
  readonly #envOf: NonNullable<FleetOptions["envOf"]>;
  readonly #slots = new Map<string, Slot>();
  readonly #running = new Map<string, Running>();
  /** Ports that a gateway had, for its next start. */
  readonly #ports = new Map<string, Partial<Record<DoorName, number>>>();

  constructor(options: FleetOptions) {
    const { routers = 2, gateways = 2, operators = 1, presence = true, topics = [DEMO_TOPIC], env = {} } = options;
    for (const folder of [this.topicsFolder, this.stateFolder, this.peersFolder, join(this.stateFolder, "logs")]) {
      mkdirSync(folder);
    }
    for (const [index, manifest] of topics.entries()) this.writeTopics(`topics-${index}.yaml`, manifest);
    this.#config = this.#configOf(env);
    this.#envOf = options.envOf ?? (() => ({}));
    const counts: readonly [Role, number][] = [
      ["operator", operators],
      ["router", routers],
      ["gateway", gateways],
      ["presence", presence ? 1 : 0],
    ];
    for (const [role, count] of counts) for (let index = 0; index < count; index++) this.#addSlot(role, index);
  }

  /** The key that signs tokens (token.ts). */
  get secret(): string {
    return this.#config.secret;
  }

  names(role: Role): readonly string[] {
    return [...this.#slots.values()].filter((slot) => slot.role === role).map((slot) => slot.name);
  }

  async startAll(): Promise<void> {
    await Promise.all([...this.#slots.keys()].map((name) => this.start(name)));
  }

  /** Starts a process that is not running; resolves when it is ready. */
  async start(name: string): Promise<void> {
    const running = this.#spawn(name);
    const isReady = (): boolean => {
      if (running.ports !== undefined) return true;
      if (running.child.exitCode === null && running.child.signalCode === null) return false;
      throw new Error(`${name} ended before it was ready: ${running.cannotStart ?? this.logs(name).slice(-2_000)}`);
    };
    await until(isReady, `${name} is ready`, READY_WITHIN_MS);
  }

  /** Starts a process without waiting for it. */
  launch(name: string): void {
    this.#spawn(name);
  }

  /** Adds a further process of a role and starts it; resolves with its name. */
  async add(role: Role): Promise<string> {
    const name = this.addPlace(role);
    await this.start(name);
    return name;
  }

  /** Adds a place for a further process of a role, which is not started; its name. */
  addPlace(role: Role): string {
    return this.#addSlot(role, this.names(role).length);
  }

  /** Sends a signal; what ends a process is waited for with `ended`. */
  kill(name: string, signal: NodeJS.Signals = "SIGKILL"): void {
    this.#process(name).kill(signal);
  }

  /** Resolves when a process has ended, with its exit code (null: by a signal). */
  async ended(name: string): Promise<number | null> {
    const child = this.#process(name);
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    return child.exitCode;
  }

  isRunning(name: string): boolean {
    const child = this.#running.get(name)?.child;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  pid(name: string): number {
    const { pid } = this.#process(name);
    if (pid === undefined) throw new Error(`${name} was not started`);
    return pid;
  }

  /** Everything that a slot's processes have logged so far. */
  logs(name: string): string {
    return readFileSync(this.#logPath(name), "utf8");
  }

  /** What a process says of itself in the peers folder. */
  peer(name: string): PeerEndpoint {
    const endpoint = parseEndpoint(JSON.parse(readFileSync(join(this.peersFolder, `${name}.json`), "utf8")));
    if (endpoint === undefined) throw new Error(`${name} has no endpoint file`);
    return endpoint;
  }

  /** `http://127.0.0.1:port` of a gateway's public door. */
  http(gateway = "gateway-0"): string {
    return `http://127.0.0.1:${this.#port(gateway, "http")}`;
  }

  /** `ws://127.0.0.1:port` of a gateway's public door. */
  ws(gateway = "gateway-0"): string {
    return `ws://127.0.0.1:${this.#port(gateway, "http")}`;
  }

  /** `127.0.0.1:port` of a gateway's public gRPC door. */
  grpc(gateway = "gateway-0"): string {
    return `127.0.0.1:${this.#port(gateway, "grpc")}`;
  }

  /** Reasons why a process is not ready; empty when it is. */
  async notReady(name: string): Promise<readonly string[]> {
    const response = await fetch(`http://${this.peer(name).probes}/readyz`);
    return ((await response.json()) as { reasons: string[] }).reasons;
  }

  async metrics(name: string): Promise<string> {
    return (await fetch(`http://${this.peer(name).probes}/metrics`)).text();
  }

  /** Writes a file of the topics folder (whole, as an editor would). */
  writeTopics(file: string, manifests: string): void {
    writeFileSync(join(this.topicsFolder, file), manifests);
  }

  removeTopics(file: string): void {
    rmSync(join(this.topicsFolder, file));
  }

  /** Ends everything at once and removes the folder. Safe to call twice. */
  async close(): Promise<void> {
    await Promise.all(
      [...this.#running.values()].map(async ({ child }) => {
        if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
        const ended = once(child, "exit");
        child.kill("SIGKILL");
        await ended;
      }),
    );
    this.#running.clear();
    keepLogs(this.folder);
    rmSync(this.folder, { recursive: true, force: true });
  }

  #configOf(env: Readonly<Record<string, string>>): Config {
    const { config } = loadConfig("standalone", { argv: [], env: {} });
    const given: Record<string, unknown> = {};
    for (const name of Object.keys(SETTINGS) as SettingName[]) {
      const text = env[variableOf(name)];
      if (text !== undefined) given[name] = parseValue(variableOf(name), SETTINGS[name], text);
    }
    const shared = {
      port: 0,
      grpcPort: 0,
      secret: TEST_SECRET,
      portSharing: "reusePort" as const,
      logLevel: "trace" as const,
    };
    const folders = { topics: this.topicsFolder, state: this.stateFolder };
    return { ...config, ...STANDALONE_DEFAULTS, ...shared, ...folders, ...given };
  }

  #addSlot(role: Role, index: number): string {
    const name = `${role}-${index}`;
    this.#slots.set(name, this.#slot(role, name));
    return name;
  }

  #slot(role: Role, name: string): Slot {
    const ports = this.#ports.get(name);
    const { port, grpcPort } = this.#config;
    const config = { ...this.#config, port: ports?.http ?? port, grpcPort: ports?.grpc ?? grpcPort };
    const slot = slotOf(role, name, {
      config,
      peersFolder: this.peersFolder,
      peerSecret: TEST_PEER_SECRET,
      node: `node-of-${name}`,
    });
    return { ...slot, environment: { ...slot.environment, ...this.#envOf(name) } };
  }

  #spawn(name: string): Running {
    const known = this.#slots.get(name);
    if (known === undefined) throw new Error(`there is no ${name} in this fleet`);
    if (this.isRunning(name)) throw new Error(`${name} is running`);
    const slot = this.#slot(known.role, name);
    const descriptor = openSync(this.#logPath(name), "a");
    const child = spawnSlot(slot, descriptor);
    closeSync(descriptor);
    const running: Running = { slot, child, ports: undefined, cannotStart: undefined };
    child.on("message", (message) => this.#onMessage(running, message as ToParent));
    this.#running.set(name, running);
    return running;
  }

  #onMessage(running: Running, message: ToParent): void {
    switch (message.type) {
      case "ready":
        running.ports = message.ports;
        this.#ports.set(running.slot.name, message.ports);
        return;
      case "notice":
        this.notices.push(message.text);
        return;
      case "cannotStart":
        running.cannotStart = message.text;
        return;
      case "askSlots":
        // There is no supervisor here.
        running.child.send({ type: "slotsAnswer", id: message.id, slots: [] });
        return;
      case "draining":
      case "killRouter":
      case "connectionTaken":
        return;
    }
  }

  #logPath(name: string): string {
    return join(this.stateFolder, "logs", `${name}.log`);
  }

  #process(name: string): ChildProcess {
    const running = this.#running.get(name);
    if (running === undefined) throw new Error(`${name} was never started`);
    return running.child;
  }

  #port(gateway: string, door: DoorName): number {
    const port = this.#ports.get(gateway)?.[door];
    if (port === undefined) throw new Error(`${gateway} has no ${door} port`);
    return port;
  }
}
