// The chart's rules and dashboard in a real Prometheus that reads a real fleet and its canary: every rule is judged without an
// error, what is well fires nothing, each panel shows something, and a fleet that is not well is told.
// Skipped where prometheus is not there.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Canary } from "../harness/canary.ts";
import { startFleet, type TestFleet } from "../harness/fleet.ts";
import { publish } from "../harness/http.ts";
import { isPrometheusThere, Prometheus, type Target } from "../harness/prometheus.ts";
import { until } from "../harness/until.ts";
import { openWebSocket } from "../harness/websocket.ts";

const FILES = join(import.meta.dirname, "../../charts/earshot/files");

interface Dashboard {
  readonly panels: readonly {
    readonly type: string;
    readonly title: string;
    readonly targets?: readonly { readonly expr: string }[];
  }[];
}

/** Panels about what only Kubernetes or Redis has. */
const EMPTY_HERE = ["Leaders", "Who leads", "Calls to Redis, by outcome"];
const KUBERNETES_ROW = "Kubernetes";

describe.skipIf(!isPrometheusThere())("in a real Prometheus (skipped where prometheus is not there)", () => {
  let fleet: TestFleet;
  let canary: Canary;
  let prometheus: Prometheus;

  beforeAll(async () => {
    fleet = await startFleet();
    canary = await Canary.start({
      folder: fleet.folder,
      topic: "default.demo:canary",
      publish: fleet.grpc("gateway-1"),
      subscribe: fleet.grpc("gateway-0"),
    });
    const labels = (pod: string): Record<string, string> => ({ namespace: "chat", release: "earshot", pod });
    const roles = ["operator", "router", "gateway"] as const;
    const targets: Target[] = roles
      .flatMap((role) => fleet.names(role))
      .map((name) => ({ address: fleet.peer(name).probes, labels: labels(name) }));
    targets.push({ address: canary.probes, labels: labels("canary-0") });
    prometheus = await Prometheus.start(targets, join(FILES, "rules.yaml"));
  });

  afterAll(async () => {
    await prometheus?.close();
    await canary?.close();
    await fleet?.close();
  });

  /** The only value of an expression; undefined while there is none. */
  async function valueOf(expression: string): Promise<number | undefined> {
    const [sample] = await prometheus.query(expression);
    return sample === undefined ? undefined : Number(sample.value[1]);
  }

  test("what is promised is recorded, and all of the budget is left", async () => {
    for (const slo of ["publish", "canary"]) {
      const left = `namespace_release:earshot_${slo}_error_budget:remaining_ratio30d`;
      await until(async () => (await valueOf(left)) !== undefined, `${left} is recorded`, 60_000);
      for (const window of ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"]) {
        const base = slo === "publish" ? "edge_publishes" : "canary";
        const [sample] = await prometheus.query(`namespace_release:earshot_${base}_failed:ratio_rate${window}`);
        expect(sample?.metric).toMatchObject({ namespace: "chat", release: "earshot" });
      }
    }
    expect(await valueOf("namespace_release:earshot_publish_error_budget:remaining_ratio30d")).toBe(1);
    expect(await valueOf("namespace_release:earshot_canary_judged:rate5m")).toBeGreaterThan(0);
  });

  test("every rule is judged without an error, and nothing critical fires but what a slow machine makes late", async () => {
    const rules = await prometheus.rules();
    expect(rules.length).toBeGreaterThan(40);
    await until(
      async () => (await prometheus.rules()).every(({ health }) => health === "ok"),
      "every rule has been judged",
      60_000,
    );
    for (const { name, lastError } of await prometheus.rules()) {
      expect({ name, lastError: lastError ?? "" }).toEqual({ name, lastError: "" });
    }
    const firing = (await prometheus.rules()).filter(({ state }) => state === "firing").map(({ name }) => name);
    expect(firing.filter((name) => name !== "EarshotCanaryBudgetBurn")).toEqual([]);
  });

  test("every panel of the dashboard is answered, and shows something", async () => {
    const dashboard = JSON.parse(readFileSync(join(FILES, "dashboard.json"), "utf8")) as Dashboard;
    // Something of everything: who listens, speaks and leaves, and a Topic that is made.
    const made = await fetch(`${fleet.http()}/api/v1/topics`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ name: "made", permissions: "PUBLIC" }),
    });
    expect(made.status).toBe(201);
    const socket = await openWebSocket(fleet.ws(), { topics: ["default.demo:room"] });
    await publish(fleet.http(), "default.demo:room", "hello");
    await socket.close();
    const empty = async (): Promise<readonly string[]> => {
      const titles = new Set<string>();
      let row = "";
      for (const { type, title, targets = [] } of dashboard.panels) {
        if (type === "row") row = title;
        for (const { expr } of targets) {
          const asked = expr
            .replaceAll("$__rate_interval", "1m")
            .replaceAll("$namespace", "chat")
            .replaceAll("$release", "earshot");
          if ((await prometheus.query(asked)).length === 0 && row !== KUBERNETES_ROW) titles.add(title);
        }
      }
      return [...titles].filter((title) => !EMPTY_HERE.includes(title));
    };
    let last: readonly string[] = [];
    const shown = until(async () => (last = await empty()).length === 0, "every panel shows something", 40_000);
    await shown.catch(() => expect(last).toEqual([]));
  });

  test("with every router dead, what fails is told: shards, the budget of publishes, the canary", async () => {
    for (const name of fleet.names("router")) fleet.kill(name);
    const states = async (name: string): Promise<readonly (string | undefined)[]> =>
      (await prometheus.rules()).filter((rule) => rule.name === name).map(({ state }) => state);
    for (const alert of ["EarshotPublishBudgetBurn", "EarshotCanaryBudgetBurn"]) {
      await until(async () => (await states(alert)).includes("firing"), `${alert} fires`, 60_000);
    }
    // They must last for a minute before they fire.
    await until(async () => (await states("EarshotShardsUnreachable"))[0] !== "inactive", "shards are told", 60_000);
    expect(await valueOf("namespace_release:earshot_publish_error_budget:remaining_ratio30d")).toBeLessThan(0);
  });
});
