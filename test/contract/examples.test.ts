// Holds the Topics of the examples against the schema: every manifest there is one that standalone mode and Kubernetes take.

import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { judgeManifests } from "../../operator/schema/manifests.ts";
import { formatProblem } from "../../operator/schema/problem.ts";

const ROOT = join(import.meta.dirname, "../..");
const FILES = globSync(["{examples/topics,topics}/*.yaml", "examples/kubernetes/topic.yaml"], { cwd: ROOT }).sort();

test("there are manifests to judge", () => {
  expect(FILES).toEqual(expect.arrayContaining(["examples/topics/chat.yaml", "topics/demo.yaml"]));
});

test.each(FILES)("%s holds Topics that are good by the schema", async (file) => {
  const documents = await judgeManifests(readFileSync(join(ROOT, file), "utf8"), () => undefined);
  const problems = documents.flatMap(({ line, verdict }) =>
    verdict.ok ? [] : verdict.problems.map((problem) => `${file}:${problem.line ?? line} ${formatProblem(problem)}`),
  );
  expect(problems).toEqual([]);
  expect(documents.length).toBeGreaterThan(0);
});

test("a manifest with a mistake would be found", async () => {
  const text = readFileSync(join(ROOT, "examples/topics/chat.yaml"), "utf8").replace("Private", "Secret");
  const [document] = await judgeManifests(text, () => undefined);
  expect(document?.verdict.ok).toBe(false);
});
