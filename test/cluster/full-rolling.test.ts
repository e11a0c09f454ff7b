// Everything is rolled once while 500 messages a second reach 200 clients through the edge of a real cluster; every message is
// counted. Drains are short here: `npm run drills` has the chart's own.

import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { tellFigures } from "../harness/drill.ts";
import { fullCluster, makeNamespace } from "../harness/kube-cluster.ts";
import { drill, type Drilled, KUBE_DRILLS, openDrilled } from "../harness/kube-drills.ts";
import { nameEdge } from "../harness/kube-edge.ts";
import { NO_RELEASE } from "../harness/kube-release.ts";

// Minutes of a machine that runs much else.
vi.setConfig({ testTimeout: 900_000, hookTimeout: 900_000 });

describe.skipIf(NO_RELEASE !== undefined)("while messages flow", () => {
  const kube = NO_RELEASE === undefined ? fullCluster() : undefined;
  let drilled: Drilled | undefined;

  beforeAll(async () => {
    nameEdge();
    if (kube === undefined) throw new Error("there is no cluster");
    drilled = await openDrilled(kube, { name: "rolled", namespace: await makeNamespace(kube, "rolling") });
  });
  afterAll(() => drilled?.close());

  for (const one of KUBE_DRILLS) {
    const what = one.moves === true ? "every client moves as told" : "nobody is told to move";
    test(`${one.what}: nothing is lost, doubled, refused or disconnected, ${what}`, async (context) => {
      if (drilled === undefined) throw new Error("nothing is installed");
      const skipped = one.skipped?.(drilled);
      if (skipped !== undefined) return context.skip(skipped);
      const figures = await drill(drilled, one);
      tellFigures(`cluster, ${one.name}`, figures);
      expect(figures).toMatchObject({ lost: 0, doubled: 0, disconnected: 0, gaps: {}, unheard: 0, refused: {} });
      if (one.moves === true) expect(figures.moved).toBeGreaterThanOrEqual(figures.clients);
      else expect(figures).toMatchObject({ moved: 0, unknown: 0, broken: {} });
    });
  }
});
