// The manifests that this project shows, taken by a real API server as they are, without a warning.

import { globSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { apiServer } from "../harness/kube-cluster.ts";

const ROOT = join(import.meta.dirname, "../..");
const FILES = globSync(["topics/*.yaml", "examples/topics/*.yaml"], { cwd: ROOT }).toSorted();
const api = apiServer();

test("there are manifests to try", () => {
  expect(FILES).toContain("topics/demo.yaml");
  expect(FILES.length).toBeGreaterThan(3);
});

test.for(FILES)("kubectl apply -f %s, once and again", async (file) => {
  await api.tryKubectl(["create", "namespace", "shop"]);
  const args = ["apply", "-f", join(ROOT, file)];
  expect(await api.tryKubectl(args)).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/ created\n/),
    stderr: "",
  });
  expect(await api.tryKubectl(args)).toMatchObject({ code: 0, stdout: expect.stringMatching(/ unchanged\n/) });
  expect(await api.tryKubectl(["delete", "-f", join(ROOT, file)])).toMatchObject({ code: 0 });
});
