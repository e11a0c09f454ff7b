// Owns: a real nginx in front of a gateway, as an ordinary user runs it: one process in the foreground, its files in a
// folder of its own, a port for each way of being configured.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./until.ts";

/** Debian keeps it where ordinary users' PATH does not look. */
const PROGRAMS = ["nginx", "/usr/sbin/nginx"];

const program = PROGRAMS.find((name) => spawnSync(name, ["-v"]).status === 0);

/** Ports are free when they are looked for, and may be taken a moment later. */
const TRIES = 5;

export function isNginxThere(): boolean {
  return program !== undefined;
}

export class Nginx {
  readonly #folder: string;
  readonly #child: ChildProcess;
  readonly #ports: ReadonlyMap<string, number>;

  private constructor(folder: string, child: ChildProcess, ports: ReadonlyMap<string, number>) {
    this.#folder = folder;
    this.#child = child;
    this.#ports = ports;
  }

  /** Starts it with a server for each name, whose text stands in its `server` block; `http` stands beside them. */
  static async start(servers: Readonly<Record<string, string>>, http = ""): Promise<Nginx> {
    for (let tried = 1; ; tried++) {
      const nginx = await Nginx.#launch(servers, http);
      try {
        await until(() => nginx.#answers(), "nginx listens");
        return nginx;
      } catch (error) {
        await nginx.close();
        if (tried === TRIES) throw error;
      }
    }
  }

  /** `http://127.0.0.1:port` of a server. */
  url(name: string): string {
    const port = this.#ports.get(name);
    if (port === undefined) throw new Error(`no server ${name}`);
    return `http://127.0.0.1:${port}`;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, "exit");
      this.#child.kill("SIGTERM");
      await ended;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  static async #launch(servers: Readonly<Record<string, string>>, http: string): Promise<Nginx> {
    const folder = mkdtempSync(join(tmpdir(), "earshot-nginx-"));
    mkdirSync(join(folder, "logs"));
    const ports = new Map<string, number>();
    for (const name of Object.keys(servers)) ports.set(name, await freePort());
    const config = join(folder, "nginx.conf");
    writeFileSync(config, configOf(folder, servers, { ports, http }));
    const child = spawn(program ?? "nginx", ["-p", folder, "-c", config, "-e", join(folder, "error.log")], {
      stdio: "ignore",
    });
    return new Nginx(folder, child, ports);
  }

  async #answers(): Promise<boolean> {
    if (this.#child.exitCode !== null) throw new Error(`nginx ended with ${this.#child.exitCode}`);
    const open = await Promise.all([...this.#ports.values()].map(isOpen));
    return open.every(Boolean);
  }
}

function configOf(
  folder: string,
  servers: Readonly<Record<string, string>>,
  { ports, http }: { ports: ReadonlyMap<string, number>; http: string },
): string {
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path ${folder}/${name};`,
  );
  const blocks = Object.entries(servers).map(
    ([name, text]) =>
      `server { listen 127.0.0.1:${ports.get(name)}${text.includes("grpc_pass") ? " http2" : ""}; ${text} }`,
  );
  return [
    "daemon off;",
    "master_process off;",
    `pid ${folder}/nginx.pid;`,
    "events { worker_connections 256; }",
    `http { access_log off; ${paths.join(" ")} ${http} ${blocks.join("\n")} }`,
    "",
  ].join("\n");
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}
